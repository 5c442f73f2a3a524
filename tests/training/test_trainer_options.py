"""The options of Lightning's Trainer: each does what it says, in real runs."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from left_behind import assert_same, checkpoint, state

from bert_lightning.config import TrainConfig, TrainerConfig
from bert_lightning.config.affects import Option, options
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.reports.run_report import report
from bert_lightning.training import stops
from bert_lightning.training.fit import fit
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]
PAST = 1e9
"""Seconds that are never over."""
NEEDS = {
    "accelerator": {"gpu", "cuda", "mps"},
    "precision": {"16-mixed", "16-true", "16"},
}
"""Values that need hardware which a test machine lacks."""
WITH = {"gradient_clip_algorithm": {"gradient_clip_val": 1.0}}
"""What else an option needs."""


def members() -> Iterator[tuple[str, Any]]:
    """Each option of the Trainer with each of the values that it takes at its limits."""
    from members import taken

    for option in options(TrainerConfig):
        for value in taken(option):
            if value not in NEEDS.get(option.name, ()):
                yield option.name, value
    yield from (("devices", 1), ("devices", "1"), ("devices", -1), ("max_time", "01:00:00:00"))
