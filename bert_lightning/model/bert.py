"""BERT, read from top to bottom (Devlin et al., 2019, https://arxiv.org/abs/1810.04805).

A batch is padding-free, `(total, hidden)`; only attention knows where its sequences end.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bert_lightning.batch import PretrainBatch, Sequences
from bert_lightning.config import FeedForwardKind, ModelConfig, NormPlacement
from bert_lightning.model.attention import Layout, SelfAttention
from bert_lightning.model.attention_paths import choose_attention
from bert_lightning.model.kernels.few_rows import few_rows
from bert_lightning.model.layers import Dropout, LayerNorm, activation, add_norm
from bert_lightning.model.objective import (
    OBJECTIVES,
    Encoded,
    MaskedLanguageModeling,
    NextSentencePrediction,
    Objective,
    Sums,
)
from bert_lightning.model.positions import POSITIONS, Positions
from bert_lightning.model.rounding import by_onednn, rounded

OWN_OBJECTIVES = "own_objectives"
"""The part of the model that holds the objectives of your own; a loaded model is without it."""


class Embeddings(nn.Module):
    """The normalized sum of a word's, its segment's and, if it has one, its position's vector."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, config.hidden_size)
        self.position = POSITIONS[config.position_embedding](config)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = LayerNorm(config)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, sequences: Sequences) -> Tensor:
        x = self.word(sequences.token_ids)
        x = x + few_rows(sequences.token_type_ids, self.token_type.weight)
        x = self.position.add(x, sequences)
        return self.dropout(self.norm(x).to(activation_dtype(x)))


def activation_dtype(x: Tensor) -> torch.dtype:
    """Returns the type of the vectors between layers: bf16 under its autocast, else that of `x`.

    fp16 has too small a range for sums over many layers: under it only products are in 16 bits.
    """
    device, bf16 = x.device.type, torch.bfloat16
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is bf16
    return bf16 if autocast else x.dtype


class FeedForward(nn.Module):
    """The same two-layer network at every position.

    `glu` multiplies one half of the inner values by the activation of the other (GeGLU with GELU;
    Shazeer, 2020, https://arxiv.org/abs/2002.05202).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.feed_forward is FeedForwardKind.glu
        inner = config.intermediate_size
        self.up = nn.Linear(config.hidden_size, 2 * inner if self.gated else inner, config.bias)
        self.act = activation(config.hidden_act)
        self.down = nn.Linear(inner, config.hidden_size, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.up(x)
        if not self.gated:
            return self.down(self.act(inner))
        gate, inner = inner.chunk(2, -1)
        return self.down(self.act(gate) * inner)


class Block(nn.Module):
    """Attention, then feed-forward; each adds to its input.

    The sum is normalized (`post`, as in the paper), or the input of either part is (`pre`;
    Xiong et al., 2020, https://arxiv.org/abs/2002.04745).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm is NormPlacement.pre
        self.attention = SelfAttention(config)
        self.attention_norm = LayerNorm(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = LayerNorm(config)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return self.add(x, self.attention(self.attention_norm(x) if self.pre_norm else x, layout))

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """Adds what attention returns to its input, then what the feed-forward network returns."""
        if self.pre_norm:
            x = x + self.dropout(attended)
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = add_norm(x, attended, self.dropout, self.attention_norm)
        return add_norm(x, self.feed_forward(x), self.dropout, self.feed_forward_norm)


class Encoder(nn.Module):
    """Embeddings and a stack of blocks; `pre` norm needs one more at the end."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, vocab_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm(config) if config.norm is NormPlacement.pre else nn.Identity()

    def forward(self, sequences: Sequences) -> Tensor:
        """Computes one vector a token, `(total, hidden)`."""
        return deque(self.layers(sequences), maxlen=1).pop()  # keeps no layer but the last

    def layers(self, sequences: Sequences) -> Iterator[Tensor]:
        """Yields the embeddings, then the output of each block, each `(total, hidden)`."""
        x = self.embeddings(sequences)
        layout = self._layout(sequences, x)
        for block in self.blocks:
            yield x
            if self.config.activation_checkpointing and self.training:
                x = checkpoint(block, x, layout, use_reentrant=False)
            else:
                x = block(x, layout)
        yield self.norm(x)

    def _layout(self, sequences: Sequences, x: Tensor) -> Layout:
        positions = self.embeddings.position.prepare(sequences)
        return Layout(choose_attention(sequences, x, self.config), positions)


class Pooler(nn.Module):
    """One vector for a whole sequence, computed from its `[CLS]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)

    def forward(self, cls: Tensor) -> Tensor:
        return self.dense(cls).tanh()


def initialize(module: nn.Module, std: float) -> None:
    """Draws a module's own weights from a normal distribution, and sets biases to 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, Positions):
        module.initialize()


class Bert(nn.Module, ABC):
    """An encoder with the heads of its objectives: whatever a run trains."""

    config: ModelConfig
    encoder: Encoder
    compiled = False
    """Whether `model.compilation` compiled it."""

    @property
    @abstractmethod
    def objectives(self) -> Mapping[str, nn.Module]:
        """The heads by the names of their objectives."""

    @abstractmethod
    def sums(self, batch: Any) -> dict[str, Sums]:
        """Runs the model on a batch and sums every objective over it."""

    @abstractmethod
    def another(self) -> Self:
        """Returns a model of the same shape, with weights of its own."""


Model = TypeVar("Model", bound=Bert)


class BertForPreTraining(Bert):
    """The encoder with the heads of all objectives; `own` are the classes of `objective.own`."""

    mlm_head: MaskedLanguageModeling
    nsp_head: NextSentencePrediction

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        own: Mapping[str, Callable[[ModelConfig, nn.Embedding], nn.Module]] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.own = dict(own or {})
        self.encoder = Encoder(config, vocab_size)
        self.pooler = Pooler(config)
        words = self.encoder.embeddings.word
        for name, head in OBJECTIVES.items():
            self.add_module(f"{name}_head", head(config, words))
        self.apply(self._initialize)
        # Last, so that the weights above are the same with and without objectives of your own.
        self.own_objectives = nn.ModuleDict(
            {name: head(config, words) for name, head in self.own.items()}
        ).apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize(module, self.config.initializer_range)

    @property
    def objectives(self) -> dict[str, Objective]:  # type: ignore[override]
        """The heads by the names of their objectives, `mlm` first and your own last."""
        heads = {name: getattr(self, f"{name}_head") for name in OBJECTIVES}
        return cast(dict[str, Objective], {**heads, **dict(self.own_objectives.items())})

    def another(self) -> Self:
        return type(self)(self.config, self.encoder.embeddings.word.num_embeddings, self.own)

    def sums(self, batch: PretrainBatch) -> dict[str, Sums]:
        encoded = self(batch.sequences, batch.masked_positions)
        return {name: head.sums(encoded, batch) for name, head in self.objectives.items()}

    def forward(self, sequences: Sequences, masked_positions: Tensor | None = None) -> Encoded:
        total, starts = len(sequences.token_ids), sequences.cu_seqlens[:-1]
        round_up = self.compiled or by_onednn(self.encoder.embeddings.word.weight)
        hidden = self.encoder(rounded(sequences) if round_up else sequences)
        chosen = starts if masked_positions is None else torch.cat([starts, masked_positions])
        # One gather, since the gradient of each is as large as `hidden`.
        cls, masked = hidden.index_select(0, chosen).tensor_split([len(starts)])
        return Encoded(hidden[:total], self.pooler(cls), masked)


@contextmanager
def inference_mode(model: nn.Module) -> Iterator[None]:
    """Switches dropout and gradients off; afterwards the model is in its former mode."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
