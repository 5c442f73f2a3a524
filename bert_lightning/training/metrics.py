"""The scores of training, from sums over many batches and all ranks."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bert_lightning.batch import Sequences
from bert_lightning.model.objective import Sums


def no_sums(objectives: int) -> Tensor:
    """Returns the sums over no batch, `(3 · objectives + 2,)`.

    The `Sums` of each objective come first, then the sentence pairs and the tokens.
    """
    return torch.zeros(3 * objectives + 2)


def add_sums(total: Tensor, sums: Mapping[str, Sums], sequences: Sequences) -> None:
    """Adds the model's sums over a batch of these sequences to the total in place."""
    total[:-2] += torch.stack([value.detach().float() for of in sums.values() for value in of])
    total[-2] += len(sequences.lengths)
    total[-1] += len(sequences.token_ids)


def training_scores(total: Tensor, objectives: Iterable[str]) -> dict[str, float]:
    """Returns the mean loss and accuracy of each objective that had a label, by name."""
    scores = {}
    for name, (nll, correct, count) in zip(objectives, total[:-2].view(-1, 3), strict=True):
        if count:
            scores[f"{name}_loss"] = (nll / count).item()
            if not correct.isnan():  # a number is not right or wrong
                scores[f"{name}_accuracy"] = (correct / count).item()
    return scores


def with_joint(scores: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Returns the same scores, with the joint `loss` of these weights by objective first.

    Scores without the loss of any objective stay without.
    """
    losses = {name: scores.get(f"{name}_loss") for name in weights}
    if not any(loss is not None for loss in losses.values()):
        return {**scores}
    joint = sum(weights[name] * (loss or 0.0) for name, loss in losses.items())
    return {"loss": joint, **scores}
