"""The encoder: its size and its architecture."""

from dataclasses import dataclass
from enum import Enum

from bert_lightning.config.affects import ARCHITECTURE, EXECUTION, LEARNING, option
from bert_lightning.errors import UserError


class HiddenAct(Enum):
    gelu = "gelu"
    relu = "relu"


class NormPlacement(Enum):
    """Where a block normalizes."""

    post = "post"
    """The sum of a sublayer and its input, as in BERT."""
    pre = "pre"
    """The input of a sublayer; the sums themselves are never normalized."""


class PositionEmbedding(Enum):
    """How the model knows the position of a token."""

    learned = "learned"
    """A vector for each position, added to the token's, as in BERT."""
    rotary = "rotary"
    """Queries and keys are rotated by an angle that grows with the position."""


class FeedForwardKind(Enum):
    """What lies between the two products of the feed-forward network."""

    mlp = "mlp"
    """An activation, as in BERT."""
    glu = "glu"
    """A product of two halves, one of them activated: GeGLU with GELU."""


@dataclass
class ModelConfig:
    """The encoder; the names are Hugging Face's. `model=` sets its size and `arch=` its kind."""

    vocab_size: int | None = option(None, LEARNING)
    """Rows of the embedding; null is the tokenizer's size."""
    hidden_size: int = option(128, ARCHITECTURE)
    num_hidden_layers: int = option(2, ARCHITECTURE)
    num_attention_heads: int = option(2, ARCHITECTURE)
    intermediate_size: int = option(256, ARCHITECTURE)
    """Width of the feed-forward network."""
    hidden_act: HiddenAct = option(HiddenAct.gelu, ARCHITECTURE)
    hidden_dropout_prob: float = option(0.2, LEARNING)
    attention_probs_dropout_prob: float = option(0.2, LEARNING)
    max_position_embeddings: int = option(512, ARCHITECTURE)
    """Longest sequence that the model can read, in tokens."""
    type_vocab_size: int = option(2, ARCHITECTURE)
    layer_norm_eps: float = option(1e-12, ARCHITECTURE)
    initializer_range: float = option(0.05, LEARNING)
    """Standard deviation of the initial weights: BERT's is 0.02, and 0.05 is PyTorch's own for
    the width of the tiny model."""
    norm: NormPlacement = option(NormPlacement.post, ARCHITECTURE)
    """Whether a block normalizes its sums (`post`) or the inputs of its sublayers (`pre`)."""
    position_embedding: PositionEmbedding = option(PositionEmbedding.learned, ARCHITECTURE)
    """Positions as vectors of their own (`learned`) or as angles in attention (`rotary`)."""
    sinusoidal_init: bool = option(True, LEARNING)
    """Whether learned positions are initialized as sines and cosines, twice as large as other
    weights: then attention can tell neighbors apart from the first step."""
    rope_theta: float = option(10000.0, ARCHITECTURE)
    """The base of rotary positions; larger tells distant positions apart better."""
    feed_forward: FeedForwardKind = option(FeedForwardKind.mlp, ARCHITECTURE)
    """One inner product with an activation (`mlp`), or two and their product (`glu`)."""
    qk_norm: bool = option(False, ARCHITECTURE)
    """Whether queries and keys are normalized, each head by itself."""
    bias: bool = option(True, ARCHITECTURE)
    """Whether linear layers and norms have a bias; the outputs of the two heads always have."""
    activation_checkpointing: bool = option(False, EXECUTION)
    """Whether a block's inner activations are recomputed in the backward pass instead of kept: a
    third more work, for memory that hardly grows with the number of layers."""
    compile: bool = option(False, EXECUTION)
    """Whether torch compiles the blocks; needs a C++ compiler on CPU, and a minute at the start."""

    @property
    def head_dim(self) -> int:
        """Values of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def __post_init__(self) -> None:
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}={getattr(self, name)} must be 1 or more")
        if self.type_vocab_size < 2:
            raise UserError(
                f"model.type_vocab_size={self.type_vocab_size} must be 2 or more: "
                "a pair has two segments"
            )
        if self.hidden_size % self.num_attention_heads:
            nearest = max(1, self.hidden_size // self.num_attention_heads)
            raise UserError(
                f"model.hidden_size={self.hidden_size} is not divisible by "
                f"model.num_attention_heads={self.num_attention_heads}; choose a multiple, such as "
                f"model.hidden_size={self.num_attention_heads * nearest}"
            )
        if self.position_embedding is PositionEmbedding.rotary and self.head_dim % 2:
            raise UserError(
                f"model.hidden_size={self.hidden_size} and "
                f"model.num_attention_heads={self.num_attention_heads} make heads of "
                f"{self.head_dim} values, and model.position_embedding=rotary rotates pairs of "
                "them: choose sizes that make it even"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"model.{name}={getattr(self, name):g} must be at least 0 and below 1"
                )
