"""Several runs of one task beside each other: their spread, and what pretraining gained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

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
