"""Which options hold in which steps: a run divided into phases, by `batch.phases`.

A run without phases is a run in one. Within a phase the options are plain ones, with the length and
the batch size of that phase, and everything that makes batches of options works as it always does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from bert_lightning.config import BatchConfig, PhaseConfig
from bert_lightning.errors import UserError

EPOCHS_A_PHASE = 2**32
"""The number of a phase's first epoch is this times the phase's: no phase draws the order, the
pairs or the masks of another, and the first one draws those of a run without phases."""


@dataclass(frozen=True)
class Phase:
    """Some of a run's optimiser steps, and what is their own."""

    max_length: int
    global_batch_size: int
    start: int
    """Its first step, counted from 0."""
    end: int
    """The step behind its last one."""

    @property
    def steps(self) -> int:
        return self.end - self.start

    @property
    def pairs(self) -> int:
        """Examples that all its steps see together."""
        return self.steps * self.global_batch_size


def entries(config: BatchConfig) -> list[PhaseConfig]:
    """The phases as they are asked for."""
    return config.phases or [PhaseConfig(fraction=1.0)]


def phase_options(config: BatchConfig) -> list[BatchConfig]:
    """The options within each phase, which have no phases themselves."""
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
    """The phases of a run of so many steps; each ends where the shares up to it, rounded, do.

    Raises:
        UserError: a phase would have no step.
    """
    fractions = [entry.fraction for entry in entries(config)]
    bounds = [0, *(round(fraction * steps) for fraction in accumulate(fractions[:-1])), steps]
    for number, (start, end) in enumerate(pairwise(bounds)):
        if start >= end:
            raise UserError(
                f"batch.phases[{number}].fraction={fractions[number]:g} of {steps:,} steps is no step: "
                "raise trainer.max_steps or the fraction, or omit the phase"
            )
    return [
        Phase(options.max_length, options.global_batch_size, start, end)
        for options, (start, end) in zip(phase_options(config), pairwise(bounds), strict=True)
    ]


def heaviest(config: BatchConfig) -> BatchConfig:
    """The options of the phase with the most tokens a step; of equals, the longest examples."""
    return max(
        phase_options(config),
        key=lambda options: (options.global_batch_size * options.max_length, options.max_length),
    )


def by_length(config: BatchConfig) -> dict[int, BatchConfig]:
    """The options of a phase for each length that occurs: phases of one length share examples."""
    return {options.max_length: options for options in phase_options(config)}


def passes(pairs: int, phases: Sequence[Phase], epoch_sizes: Sequence[int]) -> float:
    """How often the first `pairs` pairs of a run go through the examples.

    Args:
        pairs: sentence pairs that have been seen.
        phases: those of the run.
        epoch_sizes: examples of an epoch in each of them.
    """
    done = 0.0
    for phase, size in zip(phases[:-1], epoch_sizes, strict=False):
        seen = min(pairs, phase.pairs)
        done += seen / size
        pairs -= seen
    return done + pairs / epoch_sizes[-1]
