"""The objectives, each a head with its loss, and their exact weighted sum.

A new objective is a class here with an entry in `OBJECTIVES`, a weight in `ObjectiveConfig`, and,
if it labels sequences, a function in `data/batches.py`. One of your own stays outside the package:
`@extension("objective")` marks a class like these, with its `labels` beside its `sums`, and
`objective.own=[module:Class]` names it.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch, Taught
from bert_lightning.config import ModelConfig, ObjectiveConfig
from bert_lightning.extensions import find
from bert_lightning.model.layers import LayerNorm, activation
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum
from bert_lightning.model.rounding import with_rounded_rows
from bert_lightning.model.sampled_softmax import sampled_cross_entropy_sum


class Encoded(NamedTuple):
    """The vectors of a batch, which every head reads."""

    hidden: Tensor
    """`(total, hidden)`: one vector a token."""
    pooled: Tensor
    """`(sequences, hidden)`: one vector a sequence."""
    masked: Tensor
    """`(masked, hidden)`: the vectors of the tokens to predict, if the model was told which."""


class Sums(NamedTuple):
    """Sums of one objective over a batch, so that batches of different sizes add up exactly."""

    nll: Tensor
    """`()` negative log-likelihood of the labels, in nats. With teachers its gradient is that of
    `(1 - fraction) · NLL + fraction · cross-entropy with their probabilities`."""
    correct: Tensor
    """`()` labels that are the likeliest; one among k equally likely counts 1/k in MLM. NaN where
    the objective has no right and wrong, or where not all words compete."""
    labels: Tensor
    """`()` how many labels there are."""


class Objective(Protocol):
    """The interface of every objective; it is a torch module too."""

    def sums(self, encoded: Encoded, batch: PretrainBatch) -> Sums:
        """Sums the objective over a batch, from the vectors of its encoder."""
        ...


class MaskedLanguageModeling(nn.Module):
    """Predicts the masked tokens (Devlin et al., 2019, section 3.1).

    From a token's vector to a logit for each word; its word vectors are the embedding's.
    """

    def __init__(self, config: ModelConfig, words: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)
        self.act = activation(config.hidden_act)
        self.norm = LayerNorm(config)
        self.decoder = nn.Linear(config.hidden_size, words.num_embeddings)
        self.decoder.weight = words.weight

    def transform(self, x: Tensor) -> Tensor:
        """`(masked, hidden)` → `(masked, hidden)`, all but the product with the vocabulary."""
        return self.norm(self.act(self.dense(x)))

    def forward(self, x: Tensor) -> Tensor:
        """`(masked, hidden)` → logits `(masked, vocab)`; training never makes them all at once."""
        return self.decoder(self.transform(x))

    def sums(self, encoded: Encoded, batch: PretrainBatch) -> Sums:
        x = self.transform(with_rounded_rows(encoded.masked))
        weight, bias, labels = self.decoder.weight, self.decoder.bias, batch.masked_labels
        if batch.sampled_words is not None:
            nll = sampled_cross_entropy_sum(x, weight, bias, labels, batch.sampled_words)
            count = torch.full((), len(labels), device=nll.device)
            return Sums(nll, torch.full_like(nll, torch.nan), count)
        nll, correct = linear_cross_entropy_sum(x, weight, bias, labels, batch.taught)
        return Sums(nll, correct, torch.full((), len(labels), device=nll.device))


class NextSentencePrediction(nn.Linear):
    """Tells whether the second segment follows the first one (Devlin et al., 2019, section 3.1)."""

    def __init__(self, config: ModelConfig, words: nn.Embedding) -> None:
        super().__init__(config.hidden_size, 2)

    def sums(self, encoded: Encoded, batch: PretrainBatch) -> Sums:
        return classification_sums(self(encoded.pooled), batch.labels["nsp"], batch.taught)


OBJECTIVES: dict[str, Callable[[ModelConfig, nn.Embedding], nn.Module]] = {
    "mlm": MaskedLanguageModeling,
    "nsp": NextSentencePrediction,
}
"""The objectives by name. The model holds the head of `nsp` as `nsp_head`, and the curves are
`train/nsp_loss` and so on."""


def own_objectives(config: ObjectiveConfig) -> dict[str, Any]:
    """Returns the classes that `objective.own` names; see :func:`find` for errors."""
    return {name.partition(":")[2]: find("objective", name, "objective.own") for name in config.own}


def classification_sums(logits: Tensor, labels: Tensor, taught: Taught | None = None) -> Sums:
    """Sums the cross-entropy of logits `(sequences, classes)` and labels, or `IGNORE_INDEX`."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nll = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    if taught is not None and taught.pairs is not None:
        each = F.cross_entropy(logits, taught.pairs.softmax(1), reduction="none")
        soft = (each * (labels != IGNORE_INDEX)).sum()
        more = taught.fraction * (soft - nll)
        nll = nll + more - more.detach()
    return Sums(
        nll,
        (logits.argmax(-1) == labels).sum(),
        (labels != IGNORE_INDEX).sum(),
    )


def joint_loss(
    sums: Mapping[str, Sums], counts: Mapping[str, int], weights: Mapping[str, float]
) -> Tensor:
    """Computes the part of a batch in the loss of the whole optimizer step.

    It is `Σ weight · NLL / global count` over the objectives. Added up over all micro-batches of
    all ranks, the parts are the loss of the global batch, however it was divided.
    """
    return reduce(add, (weights[name] * of.nll / max(1, counts[name]) for name, of in sums.items()))
