"""Rows of cells → labelled examples: each cell must hold what its column is read as."""

import math
import re
from collections.abc import Sequence
from typing import Any

from bert_lightning.config.task import TaskConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.columns import Columns
from bert_lightning.finetuning.labelled.examples import Label, LabelledExample
from bert_lightning.finetuning.labelled.tables import Table

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that are in no text: NUL, and halves of surrogate pairs, as JSON may have them."""


def examples_of(
    table: Table, columns: Columns, task: TaskConfig
) -> tuple[list[LabelledExample], int]:
    """Returns the examples of a table, and the number of those left out as the hub's have no label.

    Raises:
        UserError: a cell holds something else than its column is read as.
    """
    assert columns.label is not None
    read_label = _number if task.kind is TaskKind.number else _class
    examples: list[LabelledExample] = []
    empty: list[str] = []
    unlabelled = 0
    for row in table.rows([*columns.texts, columns.label]):
        place = f"{table.name}, {row.place}"
        *texts, label = row.cells
        if table.marks_unlabelled and is_missing(label):
            unlabelled += 1
        elif task.kind is TaskKind.tokens:
            examples.append(_words(texts[0], label, columns, place))
        else:
            cells = zip(columns.texts, texts, strict=True)
            empty += [
                f"{place}: column '{name}'" for name, text in cells if _is_empty(text, name, place)
            ]
            label = read_label(label, columns.label, place)
            examples.append(LabelledExample(tuple(texts), label, place))
    if empty:
        more = f" (the first of {len(empty):,} empty cells)" if len(empty) > 1 else ""
        raise UserError(f"{empty[0]} is empty{more}: fill it in, or take the row out")
    if examples and task.kind is not TaskKind.tokens:
        _require_two_texts(table, columns, examples)
    return examples, unlabelled


def _require_two_texts(table: Table, columns: Columns, examples: list[LabelledExample]) -> None:
    if len(columns.texts) == 2 and all(one.texts[0] == one.texts[1] for one in examples):
        raise UserError(
            f"{table.name}: the columns {' and '.join(columns.texts)} hold the same text in every "
            "row: task.text_column=… and task.pair_column=… name others, task=text reads one"
        )


def is_missing(label: Any) -> bool:
    """Whether a label is not there: no cell, or an empty one; of words, whether all are not."""
    if isinstance(label, list):
        return all(map(is_missing, label))
    return label is None or (isinstance(label, str) and not label.strip())


def _is_empty(text: Any, column: str, place: str) -> bool:
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


def _class(label: Any, column: str, place: str) -> Label:
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


def _number(label: Any, column: str, place: str) -> Label:
    try:
        is_other = isinstance(label, bool | None) or "_" in str(label)  # Python reads 1_000
        number = math.nan if is_other else float(label)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{place}: the label '{label}' in column '{column}' is not a finite number, which "
            "task=number needs: mend it, name another column with task.label_column=…, or use "
            "task=text for classes"
        )
    return number


def _words(cell: Any, labels: Any, columns: Columns, place: str) -> LabelledExample:
    column = columns.texts[0]
    words, tags = _parts(cell, column, place), _parts(labels, str(columns.label), place)
    if len(words) != len(tags):
        raise UserError(
            f"{place}: {len(words)} words in column '{column}' and {len(tags)} labels in column "
            f"'{columns.label}': each word needs one label"
        )
    if not words:
        raise UserError(f"{place}: column '{column}' is empty: fill it in, or take the row out")
    for number, word in enumerate(words, 1):
        if _is_empty(word, column, place):
            raise UserError(
                f"{place}: word {number} in column '{column}' is empty: fill it in, or take it out"
            )
    names = [str(_class(tag, str(columns.label), place)) for tag in tags]
    return LabelledExample(tuple(words), names, place)


def _parts(cell: Any, column: str, place: str) -> Sequence[Any]:
    """Returns the words or labels of a cell: a list, or text with blanks between them."""
    if isinstance(cell, list):
        return cell
    if isinstance(cell, str | None):
        return (cell or "").split()
    raise UserError(
        f"{place}: column '{column}' holds {type(cell).__name__}, not a list of words or labels"
    )
