"""What a model costs to hold and to train: its parameters, and the operations of a batch.

A multiplication and its addition count as two operations (FLOPs), and only matrix products count:
norms, activations and dropout are about a thousandth of them. With `h` the hidden size, `i` the
feed-forward's, `V` the words, `T` tokens in sequences of the lengths `l`, and `M` masked tokens,
one forward pass takes

| part | FLOPs |
| --- | --- |
| attention: projections | `layers · 8 · T · h²` |
| attention: scores and their weighted sums | `layers · 4 · Σ l² · h` |
| feed-forward | `layers · 4 · T · h · i`, or `6` for `glu` |
| pooler, NSP head | `2 · h²` and `4 · h` a sequence |
| MLM head | `2 · M · h · (h + V)` |

and a training step three times that: for each product, the backward pass has one for the gradient
of either factor. These are useful FLOPs: padding is not among them, nor is what activation
checkpointing or a flash kernel does twice.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from bert_lightning.config import FeedForwardKind, ModelConfig
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.layers import LayerNorm

_PARTS = {
    "encoder.embeddings": "embeddings",
    "encoder.blocks": "feed_forward",
    "pooler": "pooler",
    "mlm_head": "mlm_head",
    "nsp_head": "nsp_head",
}
"""Where in the model a component is; the attention of a block is told apart below."""


@dataclass(frozen=True)
class Parameters:
    """How many numbers a model learns, by component."""

    embeddings: int
    """Of words, which the MLM head shares, of segments, and of learned positions."""
    attention: int
    feed_forward: int
    norms: int
    """Of the encoder and the MLM head."""
    pooler: int
    mlm_head: int
    """Its own; the words' vectors are the embedding's."""
    nsp_head: int
    other_heads: int
    """Of further objectives, such as your own."""

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def without_memory(config: ModelConfig, vocab_size: int) -> BertForPreTraining:
    """A model whose parameters have names and shapes, and no numbers."""
    with torch.device("meta"):
        return BertForPreTraining(config, vocab_size)


def count_parameters(model: BertForPreTraining) -> Parameters:
    """Counts a model's own parameters, by component."""
    counts = {field.name: 0 for field in fields(Parameters)}
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        if isinstance(modules[name.rpartition(".")[0]], LayerNorm):
            part = "norms"
        elif ".attention." in name:
            part = "attention"
        else:
            parts = (part for start, part in _PARTS.items() if name.startswith(start))
            part = next(parts, "other_heads")
        counts[part] += parameter.numel()
    return Parameters(**counts)


@dataclass(frozen=True)
class Flops:
    """Floating-point operations by component."""

    attention_projections: float
    """Of queries, keys, values and the output: as the tokens."""
    attention_scores: float
    """Of each token with each of its sequence: as the square of the length."""
    feed_forward: float
    pooler: float
    mlm_head: float
    nsp_head: float

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def blocks(self) -> float:
        """Of the stack of blocks, which is all but the heads."""
        return self.attention_projections + self.attention_scores + self.feed_forward

    def plus(self, other: "Flops") -> "Flops":
        return Flops(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        )

    def times(self, factor: float) -> "Flops":
        return Flops(*(factor * getattr(self, field.name) for field in fields(self)))


def forward_flops(
    config: ModelConfig, vocab_size: int, lengths: np.ndarray, masked: float
) -> Flops:
    """Useful FLOPs of one forward pass and its losses.

    Args:
        config: the sizes.
        vocab_size: rows of the embedding.
        lengths: `(sequences,)` tokens of each sequence.
        masked: tokens to predict, in all sequences together.
    """
    h, layers = config.hidden_size, config.num_hidden_layers
    products = 3 if config.feed_forward is FeedForwardKind.glu else 2
    lengths = np.asarray(lengths, dtype=np.float64)
    tokens, sequences = float(lengths.sum()), len(lengths)
    return Flops(
        attention_projections=layers * 8 * tokens * h**2,
        attention_scores=layers * 4 * float((lengths**2).sum()) * h,
        feed_forward=layers * 2 * products * tokens * h * config.intermediate_size,
        pooler=2 * sequences * h**2,
        mlm_head=2 * masked * h * (h + vocab_size),
        nsp_head=4 * sequences * h,
    )


def training_flops(
    config: ModelConfig, vocab_size: int, lengths: np.ndarray, masked: float
) -> Flops:
    """Useful FLOPs of a forward and a backward pass; arguments as in :func:`forward_flops`."""
    return forward_flops(config, vocab_size, lengths, masked).times(3)


def recomputed_flops(config: ModelConfig, forward: Flops) -> float:
    """What activation checkpointing adds to a training step: the blocks' forward pass, again."""
    return forward.blocks if config.activation_checkpointing else 0.0
