"""What a cell of a table holds: text, a class, or nothing; errors name the cell."""

import math
import re
from collections.abc import Sequence
from typing import Any

from bert_lightning.config.task import TaskKind
from bert_lightning.errors import UserError

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that are in no text: NUL, and halves of surrogate pairs, as JSON may have them."""


def is_missing(label: Any) -> bool:
    """Whether a label is not there: no cell, or an empty one; of words, whether all are not."""
    if isinstance(label, list):
        return all(map(is_missing, label))
    return label is None or (isinstance(label, str) and not label.strip())


def empty_cells(texts: Sequence[Any], columns: Sequence[str], place: str) -> list[str]:
    """Returns where cells that should hold text are empty."""
    cells = zip(columns, texts, strict=True)
    return [f"{place}: column '{name}'" for name, text in cells if is_empty(text, name, place)]


def is_empty(text: Any, column: str, place: str) -> bool:
    """Whether a cell holds no text; a UserError if it holds something else."""
    if text is not None and not isinstance(text, str):
        raise UserError(
            f"{place}: column '{column}' holds {type(text).__name__}, not text: "
            "task.text_column=… names another column"
        )
    if text and _NO_TEXT.search(text):
        raise UserError(
            f"{place}: column '{column}' holds NUL or half a surrogate pair, which are no text: "
            "take it out"
        )
    return not text or not text.strip()


def class_of(label: Any, column: str, place: str) -> str:
    """Returns a label as the name of a class."""
    if is_missing(label):
        raise UserError(
            f"{place}: the label in column '{column}' is empty: fill it in, or take the row out"
        )
    if not isinstance(label, str | int | float):
        raise UserError(
            f"{place}: the label in column '{column}' holds {type(label).__name__}, not one class"
            + "; task=tokens reads a label for each word" * isinstance(label, list)
        )
    return str(label).strip()


def number_of(label: Any, column: str, place: str, kind: TaskKind) -> float:
    """Returns a label as a finite number, which a kind of task needs."""
    try:
        is_other = isinstance(label, bool | None) or "_" in str(label)  # Python reads 1_000
        number = math.nan if is_other else float(label)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{place}: the label '{label}' in column '{column}' is not a finite number, which "
            f"task={kind.value} needs: mend it, name another column with task.label_column=…, or "
            "use task=text for classes"
        )
    return number
