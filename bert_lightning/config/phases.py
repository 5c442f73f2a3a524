"""Stretches of a run with examples of another length, or with steps of another size."""

from collections.abc import Sequence
from dataclasses import dataclass

from bert_lightning.errors import UserError

FEWEST_TOKENS = 5
"""Of an example: `[CLS] a [SEP] b [SEP]`."""


@dataclass
class PhaseConfig:
    """A stretch of the run, in which some of the data's options have values of its own."""

    share: float
    """The part of the run's optimiser steps; those of all phases add up to 1."""
    max_length: int | None = None
    """Most tokens in an example, at most `data.max_length`; null is that."""
    global_batch_size: int | None = None
    """Sentence pairs that one optimiser step sees; null is `data.global_batch_size`."""


def check_phases(phases: Sequence[PhaseConfig], max_length: int) -> None:
    """Makes sure that phases make up a run whose longest examples have `max_length` tokens.

    Raises:
        UserError: where they do not.
    """
    if not phases:
        raise UserError(
            "data.phases=[] divides the run into no phases: write [{share: 0.9, max_length: 128}, "
            "{share: 0.1}], or null for a run that is the same from its first step to its last"
        )
    for number, phase in enumerate(phases):
        name, length, size = f"data.phases[{number}]", phase.max_length, phase.global_batch_size
        if not 0 < phase.share <= 1:
            raise UserError(f"{name}.share={phase.share:g} must be above 0 and at most 1")
        if length is not None and length < FEWEST_TOKENS:
            raise UserError(f"{name}.max_length={length} must be {FEWEST_TOKENS} or more")
        if length is not None and length > max_length:
            raise UserError(
                f"{name}.max_length={length} is more than data.max_length={max_length}, the length "
                "of the held-out examples: shorten the one or raise the other"
            )
        if size is not None and size < 1:
            raise UserError(f"{name}.global_batch_size={size} must be 1 or more")
    total = sum(phase.share for phase in phases)
    if abs(total - 1) > 1e-6:
        shares = ", ".join(f"{phase.share:g}" for phase in phases)
        raise UserError(
            f"the shares of data.phases, {shares}, add up to {total:g}; they must add up to 1"
        )
