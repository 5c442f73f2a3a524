"""The sums of a model's scores on an evaluation set.

The sums of several batches, or of the batches of several ranks, add up to those of the whole set,
so no number depends on the batch size or the world size.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.evaluation.label_scores import label_scores
from bert_lightning.evaluation.token_stats import CLASSES, UNKNOWN, TokenStats
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.objective import Sums


class HeldOutSums(NamedTuple):
    """Sums over examples; those over masked tokens are `(classes,)`, in the order of `CLASSES`."""

    mlm_nll: Tensor
    """Negative log-likelihood of the masked tokens, in nats."""
    mlm_correct: Tensor
    """Masked tokens whose top prediction is right; 1/k of k equal ones."""
    mlm_in_five: Tensor
    """Masked tokens whose label is among the top five predictions."""
    masked: Tensor
    characters: Tensor
    """`()` in the texts of the masked tokens; `[UNK]` has none."""
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
        """Returns the curves of a held-out split, in nats; a score without labels is absent.

        `mlm_accuracy_known` is over the masked tokens that are not `[UNK]`, whose fraction is
        `mlm_unknown_fraction`; all other scores are over all of them.
        """
        masked, known = self.masked.sum(), self.masked[:UNKNOWN].sum()
        found = {
            "mlm_loss": self.mlm_nll.sum() / masked,
            "mlm_accuracy": self.mlm_correct.sum() / masked,
            "mlm_accuracy_at_5": self.mlm_in_five.sum() / masked,
            "mlm_unknown_fraction": self.masked[UNKNOWN] / masked,
        }
        if known:
            found["mlm_accuracy_known"] = self.mlm_correct[:UNKNOWN].sum() / known
        of_classes = zip(CLASSES, self.mlm_nll, self.mlm_correct, self.masked, strict=True)
        for name, nll, correct, count in of_classes:
            if count:
                found[f"mlm_loss_{name}"] = nll / count
                found[f"mlm_accuracy_{name}"] = correct / count
        if self.characters:
            found["bits_per_character"] = self.mlm_nll.sum() / math.log(2) / self.characters
        for name, (nll, correct, count) in zip(others, self.others, strict=True):
            if count:
                found[f"{name}_loss"], found[f"{name}_accuracy"] = nll / count, correct / count
        return found


def in_words(
    objectives: Iterable[str], scores: Mapping[str, float], baselines: Mapping[str, Any]
) -> Iterator[str]:
    """Yields a line of loss and accuracy for each objective that was scored, beside its baselines.

    Of masked tokens it is the accuracy without `[UNK]`: predicting that for a word is no success.
    """

    def score(name: str) -> str:
        baseline = baselines.get(name)
        return f"{scores[name]:.3f}" + ("" if baseline is None else f" (baseline {baseline:.3f})")

    for objective in objectives:
        if (loss := f"{objective}_loss") not in scores:
            continue
        known = f"{objective}_accuracy_known"
        accuracy = f"accuracy {score(known if known in scores else f'{objective}_accuracy')}"
        if unknown := scores.get(f"{objective}_unknown_fraction"):
            accuracy += f" without the {unknown:.1%} [UNK]"
            if known not in scores:
                accuracy = "no accuracy, as all masked tokens are [UNK]"
        yield f"{objective.upper()} loss {score(loss)}, {accuracy}"


def held_out_sums(
    model: BertForPreTraining, batch: PretrainBatch, stats: TokenStats
) -> HeldOutSums:
    """Scores a model on one batch; the sums are on the device of both."""
    encoded = model(batch.sequences)
    labels = batch.masked_labels
    scores = label_scores(model.mlm_head, encoded.hidden[batch.masked_positions], labels)
    group = torch.from_numpy(stats.group).to(labels.device)[labels]
    characters = torch.from_numpy(stats.characters).to(labels.device)[labels]
    columns = [scores.nll, scores.among(1), scores.among(5), torch.ones_like(scores.nll)]
    values = torch.stack(columns, dim=1)  # (masked, 4)
    by_class = [(values * (group == one)[:, None]).sum(0) for one in range(len(CLASSES))]
    others = [
        torch.stack([value.to(scores.nll.dtype) for value in head.sums(encoded, batch)])
        for name, head in model.objectives.items()
        if name != "mlm"
    ]
    sums = [*torch.stack(by_class, dim=1), characters.sum(), torch.stack(others)]
    return HeldOutSums(*sums)


def score_batches(
    model: BertForPreTraining, batches: Iterable[PretrainBatch], stats: TokenStats
) -> HeldOutSums:
    """Scores a model without dropout; returns the sums in float64 and in host memory."""
    device = model.nsp_head.weight.device

    def score(batch: PretrainBatch) -> HeldOutSums:
        sums = held_out_sums(model, batch.on(device), stats)
        return HeldOutSums(*(value.cpu().double() for value in sums))

    with inference_mode(model):
        return reduce(HeldOutSums.plus, map(score, batches))
