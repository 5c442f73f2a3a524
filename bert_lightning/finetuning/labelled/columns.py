"""Which columns of a table hold the texts and the label: those named, or those of usual names."""

from collections.abc import Sequence
from typing import NamedTuple

from bert_lightning.config.task import TaskConfig, TaskKind
from bert_lightning.corpus.readers.table_files import require_column
from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.finetuning.labelled.tables import Table, likely_columns

TEXTS = ("text", "sentence", "sentence1", "question", "question1", "premise")
PAIRS = (
    *(("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis")),
    *(("question1", "question2"), ("question", "question2"), ("question", "sentence")),
)
SECONDS = ("text_pair", "sentence2", "hypothesis", "question2")
WORDS = ("tokens", "words", "token", "word", "form")
LABELS = ("label", "labels", "category", "class", "score", "rating")
TAGS = ("labels", "tags", "ner_tags", "pos_tags", "label", "tag", "upos")


class Columns(NamedTuple):
    """The columns that are read."""

    texts: list[str]
    """One or two; for `tokens` that of the words."""
    label: str | None
    """None in a test split without labels."""
    notes: list[str]
    """Which columns those are and which are not read, each the end of a sentence."""


def choose_columns(table: Table, task: TaskConfig, may_lack_label: bool = False) -> Columns:
    """Returns the columns of the texts and of the label.

    Raises:
        UserError: one is not there, or the two texts are one column.
    """
    _require_consistent(task)
    usual = {name.strip().lower(): name for name in reversed(table.columns)}
    notes: list[str] = []
    if task.kind is TaskKind.tokens:
        texts = [_one(table, task, "text_column", WORDS, usual, table.words)]
    elif task.kind is TaskKind.text:
        texts = [_one(table, task, "text_column", TEXTS, usual)]
    else:
        texts = _two(table, task, usual)
    tags = LABELS if task.kind is not TaskKind.tokens else TAGS
    if may_lack_label and not _has_label(table, task, tags, usual):
        return Columns(texts, None, notes)
    label = _one(table, task, "label_column", tags, usual, table.tags)
    if label in texts:
        raise UserError(
            f"task.label_column={label}: the same column of {table.name} is read as text; it has "
            f"{table.shown_columns()}"
        )
    what = {1: "the text is column", 2: "the texts are columns"}[len(texts)]
    if task.kind is TaskKind.tokens:
        what = "the words are column"
    read = " and ".join(f"'{name}'" for name in texts)
    is_given = bool(task.text_column and task.label_column)
    by = (
        "as the options say" if is_given else "by their places" if table.words else "by their names"
    )
    notes.append(f"{what} {read} and the label is column '{label}', {by}.")
    others = [usual[name] for name in tags if name in usual and usual[name] not in (*texts, label)]
    if others and task.label_column is None:
        notes.append(f"other columns that could be the label are not read: {', '.join(others)}.")
    seconds = [usual[name] for name in SECONDS if name in usual]
    if seconds and task.kind is TaskKind.text:
        notes.append(f"column '{seconds[0]}' is not read; task=pair reads two texts.")
    return Columns(texts, label, notes)


def _require_consistent(task: TaskConfig) -> None:
    if task.pair_column is not None and task.kind in (TaskKind.text, TaskKind.tokens):
        raise UserError(
            f"task.pair_column={task.pair_column} with task={task.kind.value}, which reads one "
            "text: task=pair reads two"
        )
    if task.pair_column is not None and task.pair_column == task.text_column:
        raise UserError(
            f"task.text_column and task.pair_column are both {task.pair_column}: name two columns, "
            "or use task=text"
        )


def _has_label(table: Table, task: TaskConfig, tags: Sequence[str], usual: dict[str, str]) -> bool:
    if task.label_column is not None:
        return task.label_column in table.columns
    return table.tags is not None or any(name in usual for name in tags)


def _two(table: Table, task: TaskConfig, usual: dict[str, str]) -> list[str]:
    """Returns the columns of two texts; for `number` that of one, where there is no second."""
    named = (task.text_column, task.pair_column)
    if named == (None, None):
        for pair in PAIRS:
            if all(name in usual for name in pair):
                return [usual[name] for name in pair]
    others = {name: found for name, found in usual.items() if found not in named}
    first = _one(table, task, "text_column", TEXTS, others)
    is_pair = task.kind is TaskKind.pair or task.pair_column is not None
    if is_pair or any(name in others for name in SECONDS):
        return [first, _one(table, task, "pair_column", SECONDS, others)]
    return [first]


def _named(table: Table, column: str, option: str) -> str:
    if column not in table.columns:
        raise UserError(
            f"task.{option}={column}: {table.name} has no column '{column}'; it has "
            f"{table.shown_columns()}{did_you_mean(column, table.columns)}"
        )
    require_column(column, table.columns, table.name, f"task.{option}")
    return column


def _one(
    table: Table,
    task: TaskConfig,
    option: str,
    names: Sequence[str],
    usual: dict[str, str],
    by_form: str | None = None,
) -> str:
    named = getattr(task, option)
    if named is not None:
        return _named(table, named, option)
    if by_form is not None:
        return by_form
    for name in names:
        if name in usual:
            return _named(table, usual[name], option)
    if table.seems_headless():
        likely = likely_columns(table.columns, task.kind in (TaskKind.pair, TaskKind.number))
        raise UserError(
            f"{table.name} seems to have no header, as its first row is {table.shown_columns()}: "
            f"data.columns=[…] names its {len(table.columns)} columns in their order, perhaps "
            f"data.columns=[{','.join(likely)}]"
        )
    of_words = task.kind is TaskKind.tokens
    what = {
        "text_column": "the words" if of_words else "the text",
        "pair_column": "the second text",
        "label_column": "the labels" if of_words else "the label",
    }[option]
    raise UserError(
        f"{table.name} has no column of {what} by a usual name ({', '.join(names)}); it has "
        f"{table.shown_columns()}: task.{option}=… names it"
        + ", and task=text reads one text"
        * (option == "pair_column")
    )
