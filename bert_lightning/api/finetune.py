"""`bert_lightning.finetune`: fine-tuning from Python or a notebook."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_lightning.api.fit import given, messages, require_no_objects, restored
from bert_lightning.api.processes import train_beside
from bert_lightning.cli.from_python import compose_run
from bert_lightning.cli.many_runs.study import finetune_and_compare
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.errors import RunEnded
from bert_lightning.finetuning.predict import FineTunedBert, fine_tuned
from bert_lightning.finetuning.scoring.records import SUMMARY
from bert_lightning.pretrained.sources import open_source
from bert_lightning.reports.study_report import RESULTS
from bert_lightning.runs.curves import Curves, read_curves
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import launched_externally
from bert_lightning.sizing.devices import find_devices

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger


@dataclass(frozen=True, eq=False, repr=False)
class FinetuneRun:
    """The result of fine-tuning."""

    folder: Path
    """The run's folder, with its checkpoints, `predictions.csv` and `summary.json`."""
    bert: FineTunedBert
    """The model of the best validation, as :func:`bert_lightning.load` loads it."""
    curves: Curves
    """Each logged value by name, such as `val/accuracy`, as a list of (step, value)."""
    summary: Mapping[str, Any]
    """The content of `summary.json`: scores, quick baselines, speed and facts of the data."""
    results: Mapping[str, Any] | None
    """The content of `results.json`: all seeds beside all baselines; None with `baselines=false`,
    a single seed and no learning curve."""

    def __repr__(self) -> str:
        scores = self.summary.get("test", {})
        words = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in scores.items()]
        return f"FinetuneRun({', '.join([shown(self.folder), *words])})"


def finetune(
    *config: FinetuneConfig | str | list[str],
    callbacks: "Sequence[Callback]" = (),
    loggers: "Sequence[Logger]" = (),
) -> FinetuneRun:
    """Fine-tunes a BERT, as `bert-lightning finetune` does, and returns the result.

        finetune("task=text", "data.path=train.csv", "init_from=runs/...")

    All that `fit` says of folders, interrupts and several devices holds here as well; the further
    runs of other seeds and random weights are processes of their own.

    Args:
        config: options, each a string or in a list of strings; or one `FinetuneConfig`.
        callbacks: Lightning callbacks, beside the run's own; and so the `loggers`.

    Raises:
        UserError: a mistake in the options or the data; the message says what to change.
        RunEnded: a run was interrupted; the message says how to resume.
    """
    run, options = compose_run(given(config, FinetuneConfig), "finetune")
    result = None
    try:
        if find_devices(run).world_size > 1 and not launched_externally():
            require_no_objects(run, bool(callbacks or loggers))
            train_beside("finetune", options, run.folder)
        else:
            with messages(run.folder, "finetune.log"), restored():
                result = finetune_and_compare(run, callbacks=callbacks, loggers=loggers)
    except RunEnded as ended:
        if ended.exit_code:
            raise
        print(ended)  # it was complete already
    folder = run.folder
    return FinetuneRun(
        folder,
        fine_tuned(open_source(folder)) if result is None else result.bert,
        read_curves(folder) if result is None else result.curves,
        _read(folder / SUMMARY) or {},
        _read(folder / RESULTS) if run.has_more_runs else None,
    )


def _read(file: Path) -> dict[str, Any] | None:
    """Reads a file of the first process, which others may not see yet."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
