"""The sums of a model's scores on an evaluation set.

The sums of several batches, or of the batches of several ranks, add up to those of the whole set,
so no number depends on the batch size or the world size.
"""

import math
from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.evaluation.token_stats import CLASSES, TokenStats
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.label_scores import label_scores


class HeldOutSums(NamedTuple):
    """Sums over examples; `(classes,)` is in the order of `token_stats.CLASSES`."""

    mlm_nll: Tensor
    """`(classes,)` negative log-likelihood of the masked tokens, in nats."""
    mlm_correct: Tensor
    """`(classes,)` masked tokens whose top prediction is right; 1/k of k equal ones."""
    mlm_in_five: Tensor
    """`(classes,)` masked tokens whose label is among the top five predictions."""
    masked: Tensor
    """`(classes,)` masked tokens."""
    characters: Tensor
    """`()` in the texts of the masked tokens; `[UNK]` has none."""
    nsp_nll: Tensor
    """`()` negative log-likelihood of the pair labels, in nats."""
    nsp_correct: Tensor
    """`()` pairs whose predicted label is right."""
    labelled: Tensor
    """`()` pairs with a label."""

    @staticmethod
    def zeros() -> "HeldOutSums":
        return HeldOutSums(*(torch.zeros(size) for size in [len(CLASSES)] * 4 + [()] * 4))

    def plus(self, other: "HeldOutSums") -> "HeldOutSums":
        return HeldOutSums(*(a + b for a, b in zip(self, other, strict=True)))

    def means(self) -> dict[str, Tensor]:
        """Returns losses in nats, accuracies and bits per character, by name.

        A score without examples is absent. These are the curves of a run's held-out splits.
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
    model: BertForPreTraining, batch: PretrainBatch, stats: TokenStats
) -> HeldOutSums:
    """Scores a model on one batch; the sums are on the device of both."""
    encoded = model(batch.sequences)
    labels, pair_labels = batch.masked_labels, batch.nsp_labels
    scores = label_scores(model.mlm_head, encoded.hidden[batch.masked_positions], labels)
    group = torch.from_numpy(stats.group).to(labels.device)[labels]
    characters = torch.from_numpy(stats.characters).to(labels.device)[labels]
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


def score_batches(
    model: BertForPreTraining, batches: Iterable[PretrainBatch], stats: TokenStats
) -> HeldOutSums:
    """Scores a model without dropout; returns the sums in float64 and in host memory."""
    device = model.nsp_head.weight.device

    def score(batch: PretrainBatch) -> HeldOutSums:
        sums = held_out_sums(model, batch.on(device), stats)
        return HeldOutSums(*(value.double().cpu() for value in sums))

    with inference_mode(model):
        return reduce(HeldOutSums.plus, map(score, batches))
