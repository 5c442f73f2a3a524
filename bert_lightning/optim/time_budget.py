"""A run that ends by a time budget, and that its steps can repeat."""

from dataclasses import dataclass

UNKNOWN_STEPS = 10**9
"""The steps of a run that does not know its end yet."""


@dataclass
class Budget:
    """Training seconds, the last fraction of which is for the decay.

    Until the decay is due nothing depends on the end of the run. The seconds that are left then
    become steps, by the step time so far, and from there on nothing depends on the clock.
    """

    seconds: float
    decay_fraction: float
    end: int | None = None
    """The run's last step, once it is known."""
    decay: int = 0
    """The steps of the decay, known with `end`."""

    def settle(self, step: int, elapsed: float) -> None:
        """Sets the end if the decay is due after `step` steps that took `elapsed` seconds."""
        if self.end is None and step and elapsed >= self.seconds * (1 - self.decay_fraction):
            self.decay = max(1, round((self.seconds - elapsed) / (elapsed / step)))
            self.end = step + self.decay

    def by_steps(self) -> str | None:
        """Returns the options that repeat the run by its steps, once its end is known."""
        if self.end is None:
            return None
        fraction = self.decay / self.end
        return (
            f"optim.time_budget=null trainer.max_steps={self.end} optim.decay_fraction={fraction}"
        )

    def fraction_of_peak(self, step: int) -> float:
        """Returns the learning rate of a step as a fraction of its peak."""
        return 1.0 if self.end is None else min(1.0, max(0.0, (self.end - step) / self.decay))
