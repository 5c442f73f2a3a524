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
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.evaluation.token_stats import CLASSES, Vocabulary
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.label_scores import label_scores


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
    """Sums over examples. `(classes,)` is in the order of `frequency.CLASSES`."""

    mlm_nll: Tensor
    """`(classes,)` negative log-likelihood of the masked tokens, in nats."""
    mlm_correct: Tensor
    """`(classes,)` masked tokens whose likeliest word is the right one; of k equals, 1/k."""
    mlm_in_five: Tensor
    """`(classes,)` masked tokens whose right word is among the five likeliest."""
    masked: Tensor
    """`(classes,)` masked tokens."""
    characters: Tensor
    """`()` of the masked tokens' texts; `[UNK]` has none."""
    nsp_nll: Tensor
    """`()` negative log-likelihood of the pair labels, in nats."""
    nsp_correct: Tensor
    """`()` pairs whose likelier label is the right one."""
    labelled: Tensor
    """`()` pairs with a label."""

    @staticmethod
    def zeros() -> "HeldOutSums":
        return HeldOutSums(*(torch.zeros(size) for size in [len(CLASSES)] * 4 + [()] * 4))

    def plus(self, other: "HeldOutSums") -> "HeldOutSums":
        return HeldOutSums(*(a + b for a, b in zip(self, other, strict=True)))

    def means(self) -> dict[str, Tensor]:
        """Losses in nats, accuracies and bits per character by name; what was not asked is absent.

        They are a training run's curves of a held-out split.
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
        if self.labelled:
            found["nsp_loss"] = self.nsp_nll / self.labelled
            found["nsp_accuracy"] = self.nsp_correct / self.labelled
        return found


def held_out_sums(
    model: BertForPreTraining, batch: PretrainBatch, vocabulary: Vocabulary
) -> HeldOutSums:
    """Asks the model the questions of one batch; both are on one device, and so are the sums."""
    encoded = model(batch.sequences)
    labels, pair_labels = batch.masked_labels, batch.nsp_labels
    scores = label_scores(model.mlm_head, encoded.hidden[batch.masked_positions], labels)
    group = torch.from_numpy(vocabulary.group).to(labels.device)[labels]
    characters = torch.from_numpy(vocabulary.characters).to(labels.device)[labels]
    values = torch.stack(
        [scores.nll, scores.among(1), scores.among(5), torch.ones_like(scores.nll)], dim=1
    )  # (masked, 4)
    by_class = [(values * (group == one)[:, None]).sum(0) for one in range(len(CLASSES))]
    mlm_nll, mlm_correct, mlm_in_five, masked = torch.stack(by_class, dim=1)
    nsp_logits = model.nsp_head(encoded.pooled)  # (sequences, 2)
    nsp_logits = nsp_logits.to(torch.promote_types(nsp_logits.dtype, torch.float32))
    return HeldOutSums(
        mlm_nll,
        mlm_correct,
        mlm_in_five,
        masked,
        characters.sum(),
        F.cross_entropy(nsp_logits, pair_labels, ignore_index=IGNORE_INDEX, reduction="sum"),
        (nsp_logits.argmax(-1) == pair_labels).sum(),
        (pair_labels != IGNORE_INDEX).sum(),
    )


def answer(
    model: BertForPreTraining, batches: Iterable[PretrainBatch], vocabulary: Vocabulary
) -> HeldOutSums:
    """The sums over some batches, in float64 and in host memory; asked without dropout."""
    device = model.nsp_head.weight.device

    def ask(batch: PretrainBatch) -> HeldOutSums:
        sums = held_out_sums(model, batch.on(device), vocabulary)
        return HeldOutSums(*(value.double().cpu() for value in sums))

    with inference_mode(model):
        return reduce(HeldOutSums.plus, map(ask, batches))
