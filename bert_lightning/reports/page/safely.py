"""Writes pages where nothing that fails may end a run: it becomes one warning."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_lightning.reports.page.write import PAGE
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import shown_command

_log = logging.getLogger(__name__)


@contextmanager
def harmless(folder: Path) -> Iterator[None]:
    """A context in which an error only says that a folder has no page."""
    try:
        yield
    except Exception as error:
        cause = str(error).split("\n", 1)[0]
        _log.warning(
            "%s could not be written (%s: %s), and nothing else is affected; %s %s writes it later",
            *(shown(folder / PAGE), type(error).__name__, cause),
            *(shown_command("report"), shown(folder)),
        )


def write_page_of_run(folder: Path) -> None:
    """Writes the page of a run, or of a study of fine-tuning."""
    with harmless(folder):
        from bert_lightning.reports.page.pages import write_run_page  # with matplotlib, slow

        write_run_page(folder)


def write_page_of_sweep(folder: Path) -> None:
    """Writes the page of a sweep; its runs have theirs."""
    with harmless(folder):
        from bert_lightning.reports.page.sweep import write_page  # with matplotlib, slow

        write_page(folder)
