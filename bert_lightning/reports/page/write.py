"""Writes `report.html`, by templates that escape every text of users."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bert_lightning.files import write_text
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import shown_command
from bert_lightning.work import duration

PAGE = "report.html"
"""In the folder of a run, a sweep or a study."""
_log = logging.getLogger(__name__)


@contextmanager
def harmless(folder: Path) -> Iterator[None]:
    """A context in which nothing that fails may end a run: it becomes one warning."""
    try:
        yield
    except Exception as error:
        cause = str(error).split("\n", 1)[0]
        _log.warning(
            "%s could not be written (%s: %s), and nothing else is affected; %s %s writes it later",
            *(shown(folder / PAGE), type(error).__name__, cause),
            *(shown_command("report"), shown(folder)),
        )


def render(folder: Path, template: str, content: Mapping[str, Any]) -> None:
    """Writes the page of a folder, atomically."""
    environment = Environment(
        loader=PackageLoader("bert_lightning.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "number": _number, "percent": _percent}
    environment.filters["duration"] = duration
    written = time.strftime("%Y-%m-%d %H:%M")
    page = environment.get_template(template).render(
        **content, name=folder.absolute().name, written=written
    )
    # Text of users may hold what no file in UTF-8 can: half of a surrogate pair.
    write_text(folder / PAGE, page.encode("utf-8", "replace").decode())


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    """Returns a loss or a score; None is a dash."""
    return "–" if value is None else f"{value:,.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
