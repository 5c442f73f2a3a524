"""What a cell of a table holds: text, a class, or nothing; errors name the cell."""

import re
from collections.abc import Sequence
from typing import Any

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
