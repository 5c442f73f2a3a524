"""The encoder: its size and its kind."""

from dataclasses import dataclass
from enum import Enum

from bert_lightning.errors import UserError


class HiddenAct(Enum):
    gelu = "gelu"
    relu = "relu"


class NormPlacement(Enum):
    """Where a block normalises."""

    post = "post"
    """The sum of a part and its input, as in BERT."""
    pre = "pre"
    """What goes into a part; the sums themselves are never touched."""


class PositionEmbedding(Enum):
    """How the model knows where a token stands."""

    learned = "learned"
    """A vector for each position, added to the token's, as in BERT."""
    rotary = "rotary"
    """Queries and keys are turned by an angle that grows with the position."""


class FeedForwardKind(Enum):
    """What stands between the two products of the feed-forward network."""

    mlp = "mlp"
    """An activation, as in BERT."""
    glu = "glu"
    """A product of two halves, one of them activated: GeGLU, where that is GELU."""


@dataclass
class ModelConfig:
    """The encoder; the names are Hugging Face's. `model=` sets its size and `arch=` its kind."""

    vocab_size: int | None = None
    """Rows of the embedding; null is the tokenizer's size."""
    hidden_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    intermediate_size: int = 256
    """Width of the feed-forward network."""
    hidden_act: HiddenAct = HiddenAct.gelu
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    """Longest sequence that the model can read, in tokens."""
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    norm: NormPlacement = NormPlacement.post
    """Whether a block normalises its sums (`post`) or what goes into its parts (`pre`)."""
    position_embedding: PositionEmbedding = PositionEmbedding.learned
    """Positions as vectors of their own (`learned`) or as angles in attention (`rotary`)."""
    sinusoidal_start: bool = False
    """Whether learned positions start as sines and cosines, twice as large as other weights: then
    attention can tell neighbours from the first step."""
    rope_theta: float = 10000.0
    """The base of rotary positions; larger tells distant positions apart better."""
    feed_forward: FeedForwardKind = FeedForwardKind.mlp
    """One inner product with an activation (`mlp`), or two and their product (`glu`)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised, each head by itself."""
    bias: bool = True
    """Whether linear layers and norms have a bias; the outputs of the two heads always have."""
    activation_checkpointing: bool = False
    """Whether a block's inner activations are made again in the backward pass instead of kept: a
    third more work, for memory that hardly grows with the number of layers."""
    compile: bool = False
    """Whether torch compiles the blocks; takes a C++ compiler on CPU, and a minute at the start."""

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
                f"{self.head_dim} values, and model.position_embedding=rotary turns pairs of them: "
                "choose sizes that make it even"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"model.{name}={getattr(self, name):g} must be at least 0 and below 1"
                )
