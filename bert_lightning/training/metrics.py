"""Losses and accuracies of both objectives, over many batches and all devices."""

import torch
from torch import Tensor
from torchmetrics import Metric

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.config import ObjectiveConfig
from bert_lightning.evaluation.scores import HeldOutSums
from bert_lightning.model.objective import ObjectiveSums

_SUMS = (
    *("mlm_nll", "mlm_correct", "masked", "nsp_nll", "nsp_correct", "labelled"),
    *("pairs", "tokens"),
)


class Scores(Metric):
    """Both objectives' losses and accuracies over many batches and all devices."""

    full_state_update = False
    mlm_nll: Tensor
    mlm_correct: Tensor
    masked: Tensor
    nsp_nll: Tensor
    nsp_correct: Tensor
    labelled: Tensor
    pairs: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in _SUMS:
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def sums(self) -> Tensor:
        """What this device has added up so far, `(sums,)`."""
        return torch.stack([getattr(self, name) for name in _SUMS])

    def set_sums(self, sums: Tensor) -> None:
        """Goes on from sums `(sums,)` that were taken before."""
        for name, value in zip(_SUMS, sums, strict=True):
            setattr(self, name, value.clone())

    def update(self, sums: ObjectiveSums, batch: PretrainBatch) -> None:
        self.mlm_nll += sums.mlm_nll.detach()
        self.mlm_correct += sums.mlm_correct
        self.masked += len(batch.masked_labels)
        self.nsp_nll += sums.nsp_nll.detach()
        self.nsp_correct += sums.nsp_correct
        self.labelled += (batch.nsp_labels != IGNORE_INDEX).sum()
        self.pairs += len(batch.nsp_labels)
        self.tokens += len(batch.sequences.token_ids)

    def compute(self) -> dict[str, Tensor]:
        scores = {
            "mlm_loss": self.mlm_nll / self.masked,
            "mlm_accuracy": self.mlm_correct / self.masked,
            "nsp_loss": self.nsp_nll / self.labelled,
            "nsp_accuracy": self.nsp_correct / self.labelled,
            "pairs": self.pairs,
            "tokens": self.tokens,
        }
        if self.labelled == 0:
            del scores["nsp_loss"], scores["nsp_accuracy"]
        return scores


class HeldOutScores(Metric):
    """What a model answers on a held-out split, over many batches and all devices."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name, value in HeldOutSums.zeros()._asdict().items():
            self.add_state(name, value, dist_reduce_fx="sum")

    def update(self, sums: HeldOutSums) -> None:
        for name, value in sums._asdict().items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        return HeldOutSums(*(getattr(self, name) for name in HeldOutSums._fields)).means()


def take(scores: Metric) -> dict[str, float]:
    """What was added up so far, over all devices; it starts anew."""
    found = {name: value.item() for name, value in scores.compute().items()}
    scores.reset()
    return found


def with_joint(scores: dict[str, float], objective: ObjectiveConfig) -> dict[str, float]:
    """The same scores, with the joint `loss` first."""
    nsp_loss = scores.get("nsp_loss", 0.0)
    joint = objective.mlm_weight * scores["mlm_loss"] + objective.nsp_weight * nsp_loss
    return {"loss": joint, **scores}
