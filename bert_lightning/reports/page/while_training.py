"""The page of a run while it lasts: what it starts with, then a page after validations."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_lightning.config import RunConfig
from bert_lightning.model.bert import Bert, BertForPreTraining
from bert_lightning.reports.page.predictions import predictions
from bert_lightning.reports.page.safely import harmless, write_page_of_run
from bert_lightning.reports.page.start import write_facts, write_start
from bert_lightning.training.callbacks import FollowRun
from bert_lightning.training.datamodule import PretrainingData
from bert_lightning.training.module import TrainingModule

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_SECONDS = 20.0
"""Between two pages at least; a shorter run has its page at its end."""
_RATIO = 50
"""Seconds between two pages for each second that one takes, so that pages take 2 % of a run."""


class WhileTraining:
    """Writes the page of a run after a validation, unless the last one was written just before."""

    def __init__(self, config: RunConfig) -> None:
        self.folder: Path = config.folder
        self._next = 0.0

    def begin(self, trainer: "Trainer", module: TrainingModule[Any]) -> None:
        with harmless(self.folder):
            write_start(self.folder, trainer, module)
        self._next = time.monotonic() + _SECONDS

    def renew(self, trainer: "Trainer", module: TrainingModule[Any], model: Bert | None) -> None:
        started = time.monotonic()
        ends = trainer.should_stop or trainer.global_step >= module.progress.steps
        if ends or started < self._next:
            return
        with harmless(self.folder):
            data = trainer.datamodule  # type: ignore[attr-defined]
            if isinstance(data, PretrainingData) and isinstance(model, BertForPreTraining):
                held_out = data.evaluation_sets.get("validation")
                found = predictions(model, data.corpus, held_out, trainer.global_step)
                write_facts(self.folder, {"predictions": found})
        write_page_of_run(self.folder)
        taken = time.monotonic() - started
        self._next = started + max(_SECONDS, _RATIO * taken)


def pages_of(config: RunConfig) -> list[FollowRun]:
    """Returns the callbacks that write the page of a run while it lasts."""
    page = WhileTraining(config)
    return [FollowRun(page.begin, page.renew)]
