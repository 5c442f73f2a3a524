"""A model's parameters, and the floating-point operations (FLOPs) of its forward and training step.

A multiplication and its addition are two FLOPs. Only matrix products count: norms, activations and
dropout are about a thousandth of them. With `h` the hidden size, `i` the intermediate size, `V`
the vocabulary size, `T` tokens in sequences of the lengths `l`, and `M` masked tokens, one forward
pass takes

| part | FLOPs |
| --- | --- |
| attention: projections | `layers · 8 · T · h²` |
| attention: scores and weighted sums | `layers · 4 · Σ l² · h` |
| feed-forward | `layers · 4 · T · h · i`, or `6` for `glu` |
| pooler, NSP head | `2 · h²` and `4 · h` a sequence |
| MLM head | `2 · M · h · (h + V)` |

and a training step three times that, because the backward pass has two products for each one of the
forward pass: the gradients of its two factors. These are useful FLOPs: they leave out padding, and
what activation checkpointing or a flash kernel computes twice.
"""

from typing import NamedTuple

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
"""The component of each module; `count_parameters` tells apart the attention of a block."""


class Parameters(NamedTuple):
    """The parameters of a model, by component."""

    embeddings: int
    """Words (tied to the MLM head's decoder), segments and learned positions."""
    attention: int
    feed_forward: int
    norms: int
    """All of the encoder's and the MLM head's."""
    pooler: int
    mlm_head: int
    """Without the decoder's weight, which is the embedding's."""
    nsp_head: int
    other_heads: int
    """Of further objectives, such as your own."""

    @property
    def total(self) -> int:
        return sum(self)


def meta_model(config: ModelConfig, vocab_size: int) -> BertForPreTraining:
    """Returns a model on torch's meta device: its parameters have shapes but no storage."""
    with torch.device("meta"):
        return BertForPreTraining(config, vocab_size)


def count_parameters(model: BertForPreTraining) -> Parameters:
    """Counts the parameters of a model, each tied one once."""
    counts = dict.fromkeys(Parameters._fields, 0)
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


class Flops(NamedTuple):
    """Floating-point operations by component."""

    attention_projections: float
    """Queries, keys, values and the output; grows with the tokens."""
    attention_scores: float
    """Each token with each token of its sequence; grows with the square of the length."""
    feed_forward: float
    pooler: float
    mlm_head: float
    nsp_head: float

    @property
    def total(self) -> float:
        return sum(self)

    def times(self, factor: float) -> "Flops":
        return Flops(*(factor * part for part in self))


def forward_flops(
    config: ModelConfig, vocab_size: int, lengths: np.ndarray, masked: float
) -> Flops:
    """Returns the useful FLOPs of one forward pass with both losses, a third of a training step's.

    `vocab_size` counts the words among which masked tokens are predicted, `lengths` `(sequences,)`
    the tokens of each sequence, and `masked` the masked tokens of all.
    """
    lengths = np.asarray(lengths, dtype=np.float64)
    sums = float(lengths.sum()), float((lengths**2).sum())
    return flops_of_sums(config, vocab_size, len(lengths), *sums, masked)


def flops_of_sums(
    config: ModelConfig,
    vocab_size: int,
    sequences: float,
    tokens: float,
    squared_lengths: float,
    masked: float,
) -> Flops:
    """Returns the same from the number of sequences, and the sums of their lengths and squares."""
    h, layers = config.hidden_size, config.num_hidden_layers
    products = 3 if config.feed_forward is FeedForwardKind.glu else 2
    return Flops(
        attention_projections=layers * 8 * tokens * h**2,
        attention_scores=layers * 4 * squared_lengths * h,
        feed_forward=layers * 2 * products * tokens * h * config.intermediate_size,
        pooler=2 * sequences * h**2,
        mlm_head=2 * masked * h * (h + vocab_size),
        nsp_head=4 * sequences * h,
    )


def recomputed_flops(config: ModelConfig, forward: Flops) -> float:
    """Returns the FLOPs that activation checkpointing adds: the blocks' forward pass once more."""
    blocks = forward.attention_projections + forward.attention_scores + forward.feed_forward
    return blocks if config.activation_checkpointing else 0.0
