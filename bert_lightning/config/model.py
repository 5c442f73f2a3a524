"""The encoder: its size and its architecture."""

from dataclasses import dataclass
from enum import Enum

from bert_lightning.config.affects import ARCHITECTURE, EXECUTION, LEARNING, check_limits, option
from bert_lightning.errors import UserError


class HiddenAct(Enum):
    gelu = "gelu"
    relu = "relu"


class NormPlacement(Enum):
    """Where a block normalizes."""

    post = "post"
    pre = "pre"


class PositionEmbedding(Enum):
    """How the model knows the position of a token."""

    learned = "learned"
    rotary = "rotary"


class FeedForwardKind(Enum):
    """What lies between the two products of the feed-forward network."""

    mlp = "mlp"
    glu = "glu"


@dataclass
class ModelConfig:
    """The encoder; the names are Hugging Face's. `model=` sets its size and `arch=` its kind."""

    vocab_size: int | None = option(None, LEARNING, at_least=1)
    """Rows of the embedding; null is the tokenizer's size."""
    hidden_size: int = option(128, ARCHITECTURE, at_least=1)
    """Width of the vectors; a multiple of `num_attention_heads`."""
    num_hidden_layers: int = option(2, ARCHITECTURE, at_least=1)
    """Blocks of attention and feed-forward network."""
    num_attention_heads: int = option(2, ARCHITECTURE, at_least=1)
    """Heads of the attention in each block."""
    intermediate_size: int = option(256, ARCHITECTURE, at_least=1)
    """Width of the feed-forward network."""
    hidden_act: HiddenAct = option(HiddenAct.gelu, ARCHITECTURE)
    """Activation of the feed-forward network and of the MLM head."""
    hidden_dropout_prob: float = option(0.2, LEARNING, at_least=0, below=1)
    """Dropout of the embeddings, and of what each sublayer adds."""
    attention_probs_dropout_prob: float = option(0.2, LEARNING, at_least=0, below=1)
    """Dropout of the attention weights."""
    max_position_embeddings: int = option(512, ARCHITECTURE, at_least=1)
    """Longest sequence that the model can read, in tokens."""
    type_vocab_size: int = option(2, ARCHITECTURE, ": a pair has two segments", at_least=2)
    """Rows of the embedding that tells the two segments of a pair apart."""
    layer_norm_eps: float = option(1e-12, ARCHITECTURE, above=0)
    """What LayerNorm adds to the variance before it divides."""
    initializer_range: float = option(0.05, LEARNING, above=0)
    """Standard deviation of the initial weights: BERT's is 0.02, and 0.05 is PyTorch's own for
    the width of the tiny model."""
    cooccurrence_init: bool = option(True, LEARNING)
    """Whether the word vectors start from the words that stand near each other in the training
    text, twice as large as other weights, and not at random. Not for weights of `init_from`."""
    norm: NormPlacement = option(NormPlacement.post, ARCHITECTURE)
    """Whether a block normalizes its sums (`post`, as in BERT) or the inputs of its sublayers
    (`pre`, which never normalizes the sums themselves)."""
    position_embedding: PositionEmbedding = option(PositionEmbedding.learned, ARCHITECTURE)
    """Positions as vectors that are added to the tokens' (`learned`, as in BERT), or as angles by
    which queries and keys are rotated (`rotary`)."""
    sinusoidal_init: bool = option(True, LEARNING)
    """Whether learned positions are initialized as sines and cosines, twice as large as other
    weights: then attention can tell neighbors apart from the first step."""
    rope_theta: float = option(10000.0, ARCHITECTURE, above=1)
    """The base of rotary positions; larger tells distant positions apart better."""
    feed_forward: FeedForwardKind = option(FeedForwardKind.mlp, ARCHITECTURE)
    """One inner product with an activation (`mlp`, as in BERT), or two, one of them activated, and
    their product (`glu`: GeGLU with GELU)."""
    qk_norm: bool = option(False, ARCHITECTURE)
    """Whether queries and keys are normalized, each head by itself."""
    bias: bool = option(True, ARCHITECTURE)
    """Whether linear layers and norms have a bias; the outputs of the two heads always have."""
    activation_checkpointing: bool | None = option(False, EXECUTION)
    """Whether a block's inner activations are recomputed in the backward pass instead of kept: a
    third more work, for memory that hardly grows with the number of layers. Null does so on GPUs
    whose memory needs it."""
    compile: bool | None = option(False, EXECUTION)
    """Whether torch compiles the model, for a minute or two in the first steps; null does in
    pretraining on CUDA GPUs. It needs Triton and a C compiler there, and a C++ compiler on CPU;
    without them nothing is compiled, and the log says so."""

    @property
    def head_dim(self) -> int:
        """Values of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def __post_init__(self) -> None:
        check_limits(self, "model.")
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
