"""A run whose end is set by the clock, and which can still be made again by its steps."""

from dataclasses import dataclass

UNKNOWN_STEPS = 10**9
"""The steps of a run that does not know its end yet."""


@dataclass
class Budget:
    """Training seconds, of which the last part is for the decay.

    How fast this machine is shows while the rate is stable, and up to then nothing depends on when
    the run will end. When the decay is due, the seconds that are left are turned into steps; from
    there on the clock is not asked again.
    """

    seconds: float
    decay_fraction: float
    end: int | None = None
    """The run's last step, once it is known."""
    decay: int | None = None
    """The steps of the decay, once they are known."""

    def settle(self, step: int, elapsed: float) -> None:
        """Sets the end if it is time to, after `step` steps that took `elapsed` seconds."""
        if self.end is None and step and elapsed >= self.seconds * (1 - self.decay_fraction):
            self.decay = max(1, round((self.seconds - elapsed) / (elapsed / step)))
            self.end = step + self.decay

    def by_steps(self) -> str | None:
        """The options that make the same run without a clock, once its end is known."""
        if self.end is None or self.decay is None:
            return None
        share = self.decay / self.end
        return f"optim.time_budget=null trainer.max_steps={self.end} optim.decay_fraction={share}"

    def share(self, step: int) -> float:
        """The share of the peak rate that a step runs at."""
        if self.end is None or self.decay is None:
            return 1.0
        return min(1.0, max(0.0, (self.end - step) / self.decay))
