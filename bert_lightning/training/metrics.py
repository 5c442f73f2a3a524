"""The scores of training, from sums over many batches and all ranks.

The sums lie in one tensor `(3 · objectives + 2,)`: the `Sums` of each objective, then the sentence
pairs and the tokens that were seen.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import ObjectiveConfig
from bert_lightning.model.objective import Sums


def no_sums(objectives: int) -> Tensor:
    """Returns the sums over no batch, for this many objectives."""
    return torch.zeros(3 * objectives + 2)


def add_sums(total: Tensor, sums: Mapping[str, Sums], batch: PretrainBatch) -> None:
    """Adds a batch, with the model's sums over it, to the total in place."""
    total[:-2] += torch.stack([value.detach().float() for of in sums.values() for value in of])
    total[-2] += len(batch.sequences.lengths)
    total[-1] += len(batch.sequences.token_ids)


def training_scores(total: Tensor, objectives: Iterable[str]) -> dict[str, float]:
    """Returns the mean loss and accuracy of each objective that had a label, by name."""
    scores = {}
    for name, (nll, correct, count) in zip(objectives, total[:-2].view(-1, 3), strict=True):
        if count:
            scores[f"{name}_loss"] = (nll / count).item()
            scores[f"{name}_accuracy"] = (correct / count).item()
    return scores


def with_joint(scores: Mapping[str, float], objective: ObjectiveConfig) -> dict[str, float]:
    """Returns the same scores, with the joint `loss` first."""
    weights = objective.weights.items()
    joint = sum(weight * scores.get(f"{name}_loss", 0.0) for name, weight in weights)
    return {"loss": joint, **scores}
