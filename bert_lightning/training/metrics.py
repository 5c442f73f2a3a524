"""The scores of training, from sums over many batches and all ranks."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from bert_lightning.batch import Sequences
from bert_lightning.model.bert import Model
from bert_lightning.model.objective import Sums
from bert_lightning.sizing.flops import flops_of_sums


class Counts(NamedTuple):
    """What was done since the last log, as sums over micro-batches and ranks."""

    pairs: float
    """Or labelled examples."""
    tokens: float
    squared_lengths: float
    """Over the sequences; the FLOPs of attention grow with it."""
    steps: float
    """Each rank counts each optimizer step."""
    clipped: float
    """Those whose gradient was clipped."""


_COUNTS = len(Counts._fields)


def no_sums(objectives: int) -> Tensor:
    """Returns the sums over no batch, `(3 · objectives + 5,)`.

    The `Sums` of each objective come first, then `Counts`.
    """
    return torch.zeros(3 * objectives + _COUNTS)


def add_sums(total: Tensor, sums: Mapping[str, Sums], sequences: Sequences) -> None:
    """Adds the model's sums over a batch of these sequences to the total in place."""
    total[:-_COUNTS] += torch.stack(
        [value.detach().float() for of in sums.values() for value in of]
    )
    lengths = sequences.lengths
    squares = int((lengths**2).sum())
    add_counts(total, pairs=len(lengths), tokens=int(lengths.sum()), squared_lengths=squares)


def add_counts(total: Tensor, **counts: float | Tensor) -> None:
    """Adds what was done to the total in place; no device is asked for it."""
    for name, value in counts.items():
        total[Counts._fields.index(name) - _COUNTS] += value


def counts_of(total: Tensor) -> Counts:
    return Counts(*total[-_COUNTS:].tolist())


def training_flops(model: Model, words: int, total: Tensor) -> float:
    """Returns the useful FLOPs of the training that these sums are over.

    `words` are those among which a masked token is predicted.

    Heads count as in `sizing/flops.py`: those of MLM and NSP.
    """
    done, labels = counts_of(total), total[:-_COUNTS].view(-1, 3)[:, 2].tolist()
    masked = dict(zip(model.objectives, labels, strict=True)).get("mlm", 0.0)
    return 3 * flops_of_sums(model.config, words, *done[:3], masked).total


def training_scores(total: Tensor, objectives: Iterable[str]) -> dict[str, float]:
    """Returns the mean loss and accuracy of each objective that had a label, by name."""
    scores = {}
    for name, (nll, correct, count) in zip(objectives, total[:-_COUNTS].view(-1, 3), strict=True):
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


def charts(objectives: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Returns the curves that are shown together: of all objectives, and beside the baseline."""
    names = list(objectives)

    def of(score: str) -> dict[str, list[str]]:
        pairs = {name: [f"{split}/{name}_{score}" for split in ("train", "val")] for name in names}
        alone = {
            f"{name.upper()} and its baseline": [*both, f"val/{name}_{score}_baseline"]
            for name, both in pairs.items()
        }
        return {"all objectives": [*chain.from_iterable(pairs.values())], **alone}

    return {"losses": of("loss"), "accuracies": of("accuracy")}
