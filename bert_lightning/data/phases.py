"""The phases of a run, from `batch.phases`; a run without phases is a run in one phase."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from bert_lightning.config import BatchConfig, PhaseConfig
from bert_lightning.errors import UserError

EPOCHS_A_PHASE = 2**32
"""The first epoch of phase n has the number n times this: no phase draws the order, the pairs or
the masks of another, and the first phase draws those of a run without phases."""


@dataclass(frozen=True)
class Phase:
    """Consecutive optimizer steps of a run, and the options of their own."""

    max_length: int
    global_batch_size: int
    start: int
    """Its first step, counted from 0."""
    end: int
    """The step after its last one."""

    @property
    def steps(self) -> int:
        return self.end - self.start

    @property
    def pairs(self) -> int:
        """Examples of all its steps."""
        return self.steps * self.global_batch_size


def entries(config: BatchConfig) -> list[PhaseConfig]:
    """Returns the phases of the config; one if there are none."""
    return config.phases or [PhaseConfig(fraction=1.0)]


def phase_options(config: BatchConfig) -> list[BatchConfig]:
    """Returns the options within each phase; they have no phases themselves."""
    return [
        replace(
            config,
            phases=None,
            max_length=entry.max_length or config.max_length,
            global_batch_size=entry.global_batch_size or config.global_batch_size,
        )
        for entry in entries(config)
    ]


def phases_of(config: BatchConfig, steps: int) -> list[Phase]:
    """Returns the phases of a run of `steps` steps, their ends rounded.

    Raises:
        UserError: a phase would have no step.
    """
    fractions = [entry.fraction for entry in entries(config)]
    bounds = [0, *(round(fraction * steps) for fraction in accumulate(fractions[:-1])), steps]
    phases: list[Phase] = []
    for options, start, end in zip(phase_options(config), bounds, bounds[1:], strict=False):
        if start >= end:
            number = len(phases)
            raise UserError(
                f"batch.phases[{number}].fraction={fractions[number]:g} of {steps:,} steps is no "
                "step: raise trainer.max_steps or the fraction, or omit the phase"
            )
        phases.append(Phase(options.max_length, options.global_batch_size, start, end))
    return phases


def heaviest(config: BatchConfig) -> BatchConfig:
    """Returns the options of the phase with the most tokens a step, then the longest examples."""
    return max(
        phase_options(config),
        key=lambda options: (options.global_batch_size * options.max_length, options.max_length),
    )


def by_length(config: BatchConfig) -> dict[int, BatchConfig]:
    """Returns the options of one phase for each length: equal lengths have the same examples."""
    return {options.max_length: options for options in phase_options(config)}


def passes(pairs: int, phases: Sequence[Phase], epoch_sizes: Sequence[int]) -> float:
    """Returns the epochs that the first `pairs` pairs of a run are.

    `epoch_sizes` are the examples of an epoch in each of its phases.
    """
    done = 0.0
    for phase, size in zip(phases[:-1], epoch_sizes, strict=False):
        seen = min(pairs, phase.pairs)
        done += seen / size
        pairs -= seen
    return done + pairs / epoch_sizes[-1]
