"""Writes the page of whatever a folder holds: a run, a study of fine-tuning, or a sweep."""

from collections.abc import Iterator
from pathlib import Path

from bert_lightning.errors import UserError
from bert_lightning.reports.comparison.found import find_runs, read_found
from bert_lightning.reports.page import fine_tuning, pretraining, sweep
from bert_lightning.reports.page.write import PAGE
from bert_lightning.runs.record import read_run

_PAGES = {"train": pretraining.write_page, "finetune": fine_tuning.write_page}
"""By the command of a run."""


def write_run_page(folder: Path) -> Path:
    """Writes the page of a run, or of a study, from the files in its folder; returns its file."""
    _PAGES[read_found(folder).command](folder)
    return folder / PAGE


def write_pages(path: Path) -> Iterator[Path]:
    """Writes the page of a run, or of a sweep and each of its runs; yields the files.

    In another folder of runs the newest is meant.

    Raises:
        UserError: there is no run, or a page cannot be written.
    """
    path = path.expanduser().absolute()
    try:
        if not sweep.is_sweep(path):
            yield write_run_page(read_run(path).folder)
            return
        for run in find_runs([path]):
            yield write_run_page(run.folder)
        sweep.write_page(path)
        yield path / PAGE
    except OSError as error:
        raise UserError(f"{PAGE} cannot be written: {error}") from error
