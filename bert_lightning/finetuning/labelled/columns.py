"""Which columns of a table hold the texts and the label: those named, or those of usual names."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from bert_lightning.config.task import TaskConfig
from bert_lightning.corpus.readers.columns import require_column
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


class Second(Enum):
    """Whether examples have a second text."""

    never = auto()
    possible = auto()
    always = auto()


class ColumnNames(NamedTuple):
    """The usual names of the columns that a kind of task reads."""

    texts: Sequence[str] = TEXTS
    labels: Sequence[str] = LABELS
    second: Second = Second.never
    seconds: Sequence[str] = SECONDS
    given: Sequence[str] = ()
    """The columns of the texts, where their numbers say which they are."""
    context: str | None = None
    """The column of what precedes each of these."""
    of_words: bool = False
    """Whether the text is one of words, each with a label."""


class Columns(NamedTuple):
    """The columns that are read."""

    texts: list[str]
    """One or two; for `tokens` that of the words."""
    label: str | None
    """None in a test split without labels, and in train where none is needed."""
    notes: list[str]
    """Which columns those are and which are not read, each the end of a sentence."""
    has_context: bool = False
    """Whether the first text precedes each of the others, which are candidates of `choice`."""

    @property
    def candidates(self) -> list[str]:
        """The texts without the context."""
        return self.texts[self.has_context :]


def choose_columns(
    table: Table, task: TaskConfig, names: ColumnNames, may_lack_label: bool
) -> Columns:
    """Returns the columns of the texts and of the label.

    Raises:
        UserError: one is not there, or the two texts are one column.
    """
    _require_consistent(task, names)
    usual = {name.strip().lower(): name for name in reversed(table.columns)}
    notes: list[str] = []
    if names.given:
        texts = [*([names.context] if names.context else []), *names.given]
    elif names.second is Second.never:
        texts = [_one(table, task, names, "text_column", names.texts, usual, table.words)]
    else:
        texts = _two(table, task, names, usual)
    if may_lack_label and not _has_label(table, task, names.labels, usual):
        return Columns(texts, None, notes, names.context is not None)
    label = _one(table, task, names, "label_column", names.labels, usual, table.tags)
    if label in texts:
        raise UserError(
            f"task.label_column={label}: the same column of {table.name} is read as text; it has "
            f"{table.shown_columns()}"
        )
    what = "the text is column" if len(texts) == 1 else "the texts are columns"
    if names.of_words:
        what = "the words are column"
    read = " and ".join(f"'{name}'" for name in texts)
    is_given = bool(task.text_column and task.label_column)
    by = (
        "as the options say" if is_given else "by their places" if table.words else "by their names"
    )
    notes.append(f"{what} {read} and the label is column '{label}', {by}.")
    usual_labels = [usual[name] for name in names.labels if name in usual]
    others = [name for name in usual_labels if name not in (*texts, label)]
    if others and task.label_column is None:
        notes.append(f"other columns that could be the label are not read: {', '.join(others)}.")
    seconds = [usual[name] for name in SECONDS if name in usual]
    if seconds and names.second is Second.never and not names.of_words:
        notes.append(f"column '{seconds[0]}' is not read; task=pair reads two texts.")
    return Columns(texts, label, notes, names.context is not None)


def _require_consistent(task: TaskConfig, names: ColumnNames) -> None:
    if task.pair_column is not None and names.second is Second.never:
        raise UserError(
            f"task.pair_column={task.pair_column} with task={task.kind.value}, which reads one "
            "text: task=pair reads two"
        )
    if task.pair_column is not None and task.pair_column == task.text_column:
        raise UserError(
            f"task.text_column and task.pair_column are both {task.pair_column}: name two columns, "
            "or use task=text"
        )


def _has_label(
    table: Table, task: TaskConfig, labels: Sequence[str], usual: dict[str, str]
) -> bool:
    if task.label_column is not None:
        return task.label_column in table.columns
    return table.tags is not None or any(name in usual for name in labels)


def _two(table: Table, task: TaskConfig, names: ColumnNames, usual: dict[str, str]) -> list[str]:
    """Returns the columns of two texts, or that of one, where there need not be a second."""
    named = (task.text_column, task.pair_column)
    if named == (None, None):
        for pair in PAIRS:
            if all(name in usual for name in pair):
                return [usual[name] for name in pair]
    others = {name: found for name, found in usual.items() if found not in named}
    first = _one(table, task, names, "text_column", names.texts, others)
    is_pair = names.second is Second.always or task.pair_column is not None
    if is_pair or any(name in others for name in names.seconds):
        return [first, _one(table, task, names, "pair_column", names.seconds, others)]
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
    names: ColumnNames,
    option: str,
    known: Sequence[str],
    usual: dict[str, str],
    by_form: str | None = None,
) -> str:
    named = getattr(task, option)
    if named is not None:
        return _named(table, named, option)
    if by_form is not None:
        return by_form
    for name in known:
        if name in usual:
            return _named(table, usual[name], option)
    if table.seems_headless():
        likely = likely_columns(table.columns, names.second is not Second.never)
        raise UserError(
            f"{table.name} seems to have no header, as its first row is {table.shown_columns()}: "
            f"data.columns=[…] names its {len(table.columns)} columns in their order, perhaps "
            f"data.columns=[{','.join(likely)}]"
        )
    what = {
        "text_column": "the words" if names.of_words else "the text",
        "pair_column": "the second text",
        "label_column": "the labels" if names.of_words else "the label",
    }[option]
    raise UserError(
        f"{table.name} has no column of {what} by a usual name ({', '.join(known)}); it has "
        f"{table.shown_columns()}: task.{option}=… names it"
        + ", and task=text reads one text"
        * (option == "pair_column")
    )
