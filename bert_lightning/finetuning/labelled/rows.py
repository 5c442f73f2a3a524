"""Rows of cells → labelled examples: each cell must hold what its column is read as."""

from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.cells import is_missing
from bert_lightning.finetuning.labelled.columns import Columns
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.labelled.tables import Table
from bert_lightning.finetuning.tasks.task import Task


def examples_of(table: Table, columns: Columns, task: Task) -> tuple[list[LabelledExample], int]:
    """Returns the examples of a table, and the number of those left out as the hub's have no label.

    Raises:
        UserError: a cell holds something else than its column is read as.
    """
    examples: list[LabelledExample] = []
    empty: list[str] = []
    unlabelled = 0
    labels = [] if columns.label is None else [columns.label]
    for row in table.rows([*columns.texts, *labels]):
        place = f"{table.name}, {row.place}"
        texts, label = row.cells[: len(columns.texts)], [*row.cells, None][len(columns.texts)]
        if labels and table.marks_unlabelled and is_missing(label):
            unlabelled += 1
            continue
        empty += task.empty_cells(texts, columns, place)
        examples.append(task.example(texts, label, columns, place))
    if empty:
        more = f" (the first of {len(empty):,} empty cells)" if len(empty) > 1 else ""
        raise UserError(f"{empty[0]} is empty{more}: fill it in, or take the row out")
    if examples:
        _require_two_texts(table, columns, examples)
    return examples, unlabelled


def _require_two_texts(table: Table, columns: Columns, examples: list[LabelledExample]) -> None:
    if len(columns.texts) == 2 and all(one.texts[0] == one.texts[1] for one in examples):
        raise UserError(
            f"{table.name}: the columns {' and '.join(columns.texts)} hold the same text in every "
            "row: task.text_column=… and task.pair_column=… name others, task=text reads one"
        )
