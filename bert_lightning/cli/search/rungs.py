"""Which trials of a search continue: asynchronous successive halving (ASHA).

Li et al., 2018, "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934. A trial
is paused at each rung, and continues as soon as it is among the best third of those that reached
it. With `first=1, factor=3` the rungs are at validations 1, 3 and 9:

    trial   validation 1   2   3
    0       6.1            paused: the best of 1 // 3 = 0 trials continue
    1       5.9            paused: 2 // 3 = 0
    2       6.0            paused, and 3 // 3 = 1 continues: trial 1 is promoted
    1            5.8 5.7   paused at the next rung
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, takewhile


@dataclass(frozen=True)
class Contender:
    """A trial as its rungs see it."""

    number: int
    values: Sequence[float]
    """Its metric at each validation, up to the rung that it may reach."""
    rung: int
    """The one that it may reach: how often it was promoted."""
    is_paused: bool


@dataclass(frozen=True)
class Halving:
    """Where the rungs are, and who passes them."""

    first: int
    """Validations before the first rung."""
    factor: int
    lower: bool
    """Whether a lower metric is better."""
    last: float = math.inf
    """The validation at the end of a trial, at which none is paused."""

    def at(self, rung: int) -> int:
        """Returns the validation that a rung is at."""
        return self.first * self.factor**rung

    def rungs(self) -> list[int]:
        """Returns the validations of all rungs; of the first three where nobody knows the last."""
        last = self.last if math.isfinite(self.last) else self.at(3)
        return [*takewhile(lambda at: at < last, map(self.at, count()))]

    def is_reached(self, trial: Contender) -> bool:
        """Returns whether a trial has come to its rung."""
        return len(trial.values) == self.at(trial.rung) < self.last

    def passes(self, trial: Contender, trials: Sequence[Contender]) -> bool:
        """Returns whether a trial is among the best of its rung, all trials at hand."""
        members = self._members(trial.rung, trials)
        best = members[: len(members) // self.factor]
        return trial.number in [one.number for one in best]

    def promoted(self, trials: Sequence[Contender]) -> int | None:
        """Returns the paused trial that continues next, of the highest rung; None if none may."""
        paused = [trial for trial in trials if trial.is_paused]
        ready = [trial for trial in paused if self.passes(trial, trials)]
        return self._best(ready)

    def furthest(self, trials: Sequence[Contender]) -> int | None:
        """Returns the best paused trial of the highest rung, which the end of a search completes.

        A rung of fewer trials than `factor` lets none pass.
        """
        return self._best([trial for trial in trials if trial.is_paused])

    def _members(self, rung: int, trials: Sequence[Contender]) -> list[Contender]:
        """Returns the trials that have come to a rung, the best first."""
        at = self.at(rung)
        members = [trial for trial in trials if len(trial.values) >= at]
        return sorted(members, key=lambda trial: (self._badness(trial, rung), trial.number))

    def _best(self, paused: Sequence[Contender]) -> int | None:
        order = sorted(
            paused, key=lambda trial: (-trial.rung, self._badness(trial, trial.rung), trial.number)
        )
        return order[0].number if order else None

    def _badness(self, trial: Contender, rung: int) -> float:
        value = trial.values[self.at(rung) - 1]
        return math.inf if math.isnan(value) else value if self.lower else -value
