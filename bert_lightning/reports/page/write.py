"""Writes `report.html`, by templates that escape every text of users."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader, Undefined

from bert_lightning.files import write_text
from bert_lightning.work import duration

PAGE = "report.html"
"""In the folder of a run, a sweep or a study."""


def render(folder: Path, template: str, content: Mapping[str, Any]) -> None:
    """Writes the page of a folder, atomically."""
    environment = Environment(
        loader=PackageLoader("bert_lightning.reports.page"),
        autoescape=True,
        undefined=ChainableUndefined,  # files of earlier versions say less
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "number": _number, "percent": _percent}
    environment.filters["duration"] = duration
    written = time.strftime("%c")
    page = environment.get_template(template).render(
        **content, name=folder.absolute().name, written=written
    )
    # Text of users may hold what no file in UTF-8 can: half of a surrogate pair.
    write_text(folder / PAGE, page.encode("utf-8", "replace").decode())


def _count(value: float | Undefined | None) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else "–"


def _number(value: float | Undefined | None) -> str:
    """Returns a loss or a score; a dash where there is none."""
    return f"{value:,.3f}" if isinstance(value, int | float) else "–"


def _percent(value: float | Undefined | None) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "–"
