"""The questions of a held-out split, which never change, and the sums of a model's answers.

Sums of several batches, or of several devices' shares, add up to those of the whole, so no number
depends on how the split was divided.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.evaluation.token_stats import CLASSES, Vocabulary
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.heads import label_scores
from bert_lightning.model.objective import Sums


@dataclass(frozen=True)
class Questions:
    """What is asked of a model on a split."""

    sha256: str
    """Of all that decides the right answers: equal hashes are equal questions."""
    examples: int
    tokens: int
    labels: np.ndarray
    """`(masked,)` the tokens to predict."""
    pair_labels: np.ndarray
    """`(examples,)`, `IGNORE_INDEX` where there is no pair."""


def questions(batches: Iterable[PretrainBatch]) -> Questions:
    """Reads and hashes the questions of a whole split.

    The hash is over, in this order, the SHA-256 of each of these numbers of all examples, as
    little-endian int64: lengths, token ids, token types, masked positions (counted over the whole
    split), labels and pair labels. It does not depend on how the examples were divided.
    """
    digests = [hashlib.sha256() for _ in range(6)]
    tokens, labels, pair_labels = 0, [], []
    for batch in batches:
        sequences = batch.sequences
        parts = (
            sequences.lengths,
            sequences.token_ids.numpy(),
            sequences.token_type_ids.numpy(),
            batch.masked_positions.numpy() + tokens,
            batch.masked_labels.numpy(),
            batch.nsp_labels.numpy(),
        )
        for digest, part in zip(digests, parts, strict=True):
            digest.update(part.astype("<i8").tobytes())
        tokens += len(sequences.token_ids)
        labels.append(parts[4])
        pair_labels.append(parts[5])
    return Questions(
        sha256=hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest(),
        examples=sum(map(len, pair_labels)),
        tokens=tokens,
        labels=np.concatenate(labels),
        pair_labels=np.concatenate(pair_labels),
    )


class HeldOutSums(NamedTuple):
    """Sums over examples. `(classes,)` is in the order of `token_stats.CLASSES`."""

    mlm_nll: Tensor
    """`(classes,)` negative log-likelihood of the masked tokens, in nats."""
    mlm_correct: Tensor
    """`(classes,)` masked tokens that are the likeliest word; one among k equally likely, 1/k."""
    mlm_in_five: Tensor
    """`(classes,)` masked tokens that are among the five likeliest words."""
    masked: Tensor
    """`(classes,)` masked tokens."""
    characters: Tensor
    """`()` of the masked tokens' texts; `[UNK]` has none."""
    others: Tensor
    """`(objectives - 1, 3)`: the `Sums` of the model's other objectives, of which NSP is first."""

    @staticmethod
    def zeros(others: int) -> "HeldOutSums":
        """Returns the sums over no examples, of a model with this many other objectives."""
        shapes = [*[(len(CLASSES),)] * 4, (), (others, 3)]
        return HeldOutSums(*(torch.zeros(shape) for shape in shapes))

    def plus(self, other: "HeldOutSums") -> "HeldOutSums":
        return HeldOutSums(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def nsp(self) -> Sums:
        """The sums of next-sentence prediction."""
        return Sums(*self.others[0])

    def means(self, others: Iterable[str]) -> dict[str, Tensor]:
        """Computes losses in nats, accuracies and bits per character, by name.

        They are a training run's curves of a held-out split; an objective without labels has none.

        Args:
            others: the names of the model's other objectives.
        """
        masked = self.masked.sum()
        found = {
            "mlm_loss": self.mlm_nll.sum() / masked,
            "mlm_accuracy": self.mlm_correct.sum() / masked,
            "mlm_accuracy_at_5": self.mlm_in_five.sum() / masked,
        }
        for name, nll, count in zip(CLASSES, self.mlm_nll, self.masked, strict=True):
            if count:
                found[f"mlm_loss_{name}"] = nll / count
        if self.characters:
            found["bits_per_character"] = self.mlm_nll.sum() / math.log(2) / self.characters
        for name, (nll, correct, count) in zip(others, self.others, strict=True):
            if count:
                found[f"{name}_loss"], found[f"{name}_accuracy"] = nll / count, correct / count
        return found


def held_out_sums(
    model: BertForPreTraining, batch: PretrainBatch, vocabulary: Vocabulary
) -> HeldOutSums:
    """Scores the model on one batch; both are on one device, and so are the sums."""
    encoded = model(batch.sequences)
    labels = batch.masked_labels
    scores = label_scores(model.mlm_head, encoded.hidden[batch.masked_positions], labels)
    group = torch.from_numpy(vocabulary.group).to(labels.device)[labels]
    characters = torch.from_numpy(vocabulary.characters).to(labels.device)[labels]
    values = torch.stack(
        [scores.nll, scores.among(1), scores.among(5), torch.ones_like(scores.nll)], dim=1
    )  # (masked, 4)
    by_class = [(values * (group == one)[:, None]).sum(0) for one in range(len(CLASSES))]
    others = [
        torch.stack([value.to(scores.nll.dtype) for value in head.sums(encoded, batch)])
        for name, head in model.objectives.items()
        if name != "mlm"
    ]
    mlm_nll, mlm_correct, mlm_in_five, masked = torch.stack(by_class, dim=1)
    return HeldOutSums(
        mlm_nll, mlm_correct, mlm_in_five, masked, characters.sum(), torch.stack(others)
    )


def answer(
    model: BertForPreTraining, batches: Iterable[PretrainBatch], vocabulary: Vocabulary
) -> HeldOutSums:
    """Sums over some batches, in float64 and in host memory; without dropout."""
    device = model.nsp_head.weight.device

    def ask(batch: PretrainBatch) -> HeldOutSums:
        sums = held_out_sums(model, batch.on(device), vocabulary)
        return HeldOutSums(*(value.double().cpu() for value in sums))

    with inference_mode(model):
        return reduce(HeldOutSums.plus, map(ask, batches))
