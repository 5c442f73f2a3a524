"""Several runs of one task beside each other: their spread, and what pretraining gained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import fmean, stdev

import numpy as np

from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.scoring.entities import entities, is_bio
from bert_lightning.finetuning.scoring.metrics import spearman

DRAWS = 1000
"""Resamplings of an interval."""

ScoreOn = Callable[[np.ndarray], float]
"""From the numbers of examples, repeated or not, to the main score on these."""


@dataclass(frozen=True)
class Spread:
    """A score of several seeds."""

    mean: float
    deviation: float
    """Standard deviation between seeds; 0 of a single one."""
    worst: float
    scores: list[float]


def spread(scores: Sequence[float]) -> Spread:
    """Returns the spread of the runs with these scores."""
    deviation = stdev(scores) if len(scores) > 1 else 0.0
    return Spread(fmean(scores), deviation, min(scores), list(scores))


def main_score_on(
    predicted: np.ndarray,
    labels: np.ndarray,
    kind: TaskKind,
    names: Sequence[str],
    sizes: np.ndarray,
) -> ScoreOn:
    """Returns the task's main score as a function of the examples that it is taken over.

    `predicted` and `labels` are `(labels,)`; `sizes` says how many labels each example has.
    """
    if kind is TaskKind.number:
        return lambda chosen: spearman(predicted[chosen], labels[chosen])
    if kind is not TaskKind.tokens:
        right = (predicted == labels).astype(np.float64)
        return lambda chosen: float(right[chosen].mean())
    bounds = list(pairwise(accumulate(sizes.tolist(), initial=0)))
    if not is_bio(names):
        hits = np.array([(predicted[a:b] == labels[a:b]).sum() for a, b in bounds])
        return lambda chosen: float(hits[chosen].sum() / sizes[chosen].sum())
    counts = []
    for start, end in bounds:
        found, right_ones = (
            set(entities([names[number] for number in numbers[start:end]]))
            for numbers in (predicted, labels)
        )
        counts.append((len(found & right_ones), len(found) + len(right_ones)))
    both = np.array(counts)

    def f1(chosen: np.ndarray) -> float:
        hits, either = both[chosen].sum(0)
        return float(2 * hits / max(1, either))

    return f1


def gain_interval(
    ours: Sequence[ScoreOn], theirs: Sequence[ScoreOn], examples: int
) -> tuple[float, float]:
    """Returns the 95 % interval of the mean gain of `ours` over `theirs`, paired by their seeds.

    Seeds and examples are both resampled (a hierarchical bootstrap with percentiles), so it tells
    what other seeds and another test set would give.
    """
    generator = np.random.default_rng(0)
    pairs = list(zip(ours, theirs, strict=True))
    gains = []
    for _ in range(DRAWS):
        chosen = generator.integers(examples, size=examples)
        drawn = generator.integers(len(pairs), size=len(pairs))
        by_seed = {seed: pairs[seed][0](chosen) - pairs[seed][1](chosen) for seed in set(drawn)}
        gains.append(fmean(by_seed[seed] for seed in drawn))
    low, high = np.quantile(gains, (0.025, 0.975))
    return float(low), float(high)
