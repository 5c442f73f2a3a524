"""Losses and accuracies of all objectives, over many batches and all ranks."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import ObjectiveConfig
from bert_lightning.evaluation.scores import HeldOutSums
from bert_lightning.model.objective import Sums


class Scores(Metric):
    """The objectives' losses and accuracies in training.

    Args:
        objectives: their names, in the order of the model's.
    """

    full_state_update = False
    of_objectives: Tensor
    """`(objectives, 3)`: the `Sums` of each."""
    pairs: Tensor
    tokens: Tensor

    def __init__(self, objectives: Iterable[str]) -> None:
        super().__init__()
        self.objectives = list(objectives)
        self.add_state("of_objectives", torch.zeros(len(self.objectives), 3), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros(()), dist_reduce_fx="sum")

    def sums(self) -> Tensor:
        """Returns what this rank has added up so far, `(sums,)`."""
        return torch.cat([self.of_objectives.flatten(), self.pairs[None], self.tokens[None]])

    def set_sums(self, sums: Tensor) -> None:
        """Continues from sums `(sums,)` that :meth:`sums` returned."""
        self.of_objectives = sums[:-2].reshape(-1, 3).clone()
        self.pairs, self.tokens = sums[-2].clone(), sums[-1].clone()

    def update(self, sums: Mapping[str, Sums], batch: PretrainBatch) -> None:
        values = [value.detach().float() for of in sums.values() for value in of]
        self.of_objectives += torch.stack(values).view(-1, 3)
        self.pairs += len(batch.sequences.lengths)
        self.tokens += len(batch.sequences.token_ids)

    def compute(self) -> dict[str, Tensor]:
        scores = {"pairs": self.pairs, "tokens": self.tokens}
        for name, (nll, correct, count) in zip(self.objectives, self.of_objectives, strict=True):
            if count:
                scores[f"{name}_loss"], scores[f"{name}_accuracy"] = nll / count, correct / count
        return scores


class HeldOutScores(Metric):
    """Scores on a held-out split; the arguments are those of :class:`Scores`."""

    full_state_update = False

    def __init__(self, objectives: Iterable[str]) -> None:
        super().__init__()
        self.other_names = [name for name in objectives if name != "mlm"]
        for name, value in HeldOutSums.zeros(len(self.other_names))._asdict().items():
            self.add_state(name, value, dist_reduce_fx="sum")

    def update(self, sums: HeldOutSums) -> None:
        for name, value in sums._asdict().items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        sums = HeldOutSums(*(getattr(self, name) for name in HeldOutSums._fields))
        return sums.means(self.other_names)


def take(scores: Metric) -> dict[str, float]:
    """Returns what was added up so far, over all ranks, and starts anew."""
    found = {name: value.item() for name, value in scores.compute().items()}
    scores.reset()
    return found


def with_joint(scores: dict[str, float], objective: ObjectiveConfig) -> dict[str, float]:
    """Returns the same scores, with the joint `loss` first."""
    weights = objective.weights.items()
    joint = sum(weight * scores.get(f"{name}_loss", 0.0) for name, weight in weights)
    return {"loss": joint, **scores}
