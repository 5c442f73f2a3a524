"""A run that ends by a time budget."""

from dataclasses import dataclass
from typing import Any

UNKNOWN_STEPS = 10**9
"""The steps of a run that does not know its end yet."""
TOLERANCE = 0.01
"""Fraction of the budget by which a decay may be late before it is shortened."""
_CERTAIN = 0.1
"""Fraction of the decay's steps after which their own time counts as much as the one before."""


@dataclass
class Budget:
    """Training seconds, the last fraction of which is for the decay.

    Until the decay is due nothing depends on the end of the run. The seconds that are left then
    become steps, by the step time of the second half of the time so far: the first steps compile
    and load. From there on nothing depends on the clock, unless the
    steps become slower: once the decay is late by `TOLERANCE` of the budget, its rest is planned
    again, with as many steps as still fit. So a run exceeds its budget by `TOLERANCE` and a step at
    most.
    """

    seconds: float
    decay_fraction: float
    end: int | None = None
    """The run's last step, once it is known."""
    decay: int = 0
    """The steps of the decay, or of what was left of it when it was last planned."""
    height: float = 1.0
    """The fraction of the peak rate that these steps begin with: below 1 for a second plan."""
    halfway: tuple[int, float] = (0, 0.0)
    """The steps and the seconds at half of the time before the plan."""
    planned: tuple[int, float] = (0, 0.0)
    """The steps and the seconds before the plan."""
    step_time: float = 0.0
    """Seconds of a step, before the plan."""

    def settle(self, step: int, elapsed: float) -> None:
        """Plans the decay if that is due after `step` steps that took `elapsed` seconds."""
        if self.end is None:
            due = self.seconds * (1 - self.decay_fraction)
            steps, taken = step - self.halfway[0], elapsed - self.halfway[1]
            if steps and elapsed >= due:
                self._plan(step, elapsed, taken / steps)
            elif not self.halfway[0] and elapsed >= due / 2:
                self.halfway = (step, elapsed)
            return
        steps, taken = step - self.planned[0], elapsed - self.planned[1]
        if taken - steps * self.step_time > self.seconds * TOLERANCE:
            before = max(1.0, _CERTAIN * self.decay)
            self._plan(step, elapsed, (taken + before * self.step_time) / (steps + before))

    def _plan(self, step: int, elapsed: float, step_time: float) -> None:
        left = max(1, round((self.seconds - elapsed) / step_time))
        if self.end is None or step + left < self.end:
            self.height = self.fraction_of_peak(step)
            self.decay, self.end = left, step + left
            self.planned, self.step_time = (step, elapsed), step_time

    def by_steps(self) -> str | None:
        """Returns the options that repeat the run by its steps; None if none do.

        That is so until its end is known, and where the decay was planned a second time.
        """
        if self.end is None or self.height < 1:
            return None
        fraction = self.decay / self.end
        return (
            f"optim.time_budget=null trainer.max_steps={self.end} optim.decay_fraction={fraction}"
        )

    def fraction_of_peak(self, step: int) -> float:
        """Returns the learning rate of a step as a fraction of its peak."""
        if self.end is None:
            return 1.0
        return min(1.0, max(0.0, self.height * ((self.end - step) / self.decay)))

    def to_plain(self) -> list[float | int | None]:
        """Returns the plan as a checkpoint holds it."""
        return [
            self.end,
            self.decay,
            self.height,
            *self.planned,
            self.step_time,
            *self.halfway,
        ]

    def restore(self, plain: list[Any]) -> None:
        """Takes up the plan of a checkpoint."""
        self.end, self.decay, self.height, *planned, self.step_time = plain[:6]
        self.planned = (planned[0], planned[1])
        if len(plain) == 8:  # older checkpoints have no place for it
            self.halfway = (plain[6], plain[7])
