"""Labelled examples as they are read: texts or words, and their labels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bert_lightning.errors import UserError


class Answer(NamedTuple):
    """A span of a context."""

    text: str
    start: int
    """Its first character."""


Label = str | float | list[str] | tuple[Answer, ...] | None
"""A class, a number, the class of each word, or the answers of a question: any of them is right,
and where there is none, the context has no answer. None in training without labels."""


@dataclass(frozen=True)
class LabelledExample:
    """One example, and where it stands."""

    texts: tuple[str, ...]
    """One text or two; for `tokens` the words."""
    label: Label
    place: str
    """The file and the row or line, for messages and for tables of errors."""


def label_names(examples: Iterable[LabelledExample]) -> list[str]:
    """Returns the classes of the training split, sorted: their order is their number.

    Names that are all whole numbers are sorted as such.
    """
    names = {name for example in examples for name in classes_of(example)}
    if all(name.removeprefix("-").isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def classes_of(example: LabelledExample) -> Sequence[str]:
    """Returns the classes that the label of an example names."""
    if isinstance(example.label, list):
        return example.label
    return [example.label] if isinstance(example.label, str) else []


def require_examples(examples: Sequence[LabelledExample], file: str) -> None:
    """Raises a UserError if there is no example."""
    if not examples:
        raise UserError(f"{file} has no labelled example")


def require_several(names: Sequence[str], file: str) -> None:
    """Raises a UserError if there are fewer than two classes."""
    if len(names) == 1:
        raise UserError(
            f"{file}: every label is '{names[0]}'; a task needs two classes or more: "
            "task.label_column=… names another column"
        )


def require_classes(examples: Sequence[LabelledExample], names: Sequence[str], file: str) -> None:
    """Makes sure that examples with one class each can be told apart.

    Raises:
        UserError: there is no example, fewer than two classes, or a class for each example.
    """
    require_examples(examples, file)
    require_several(names, file)
    if len(examples) <= len(names):
        raise UserError(
            f"{file} has {len(examples)} examples, each of a class of its own: use task=number if "
            "its labels are numbers, or name another column with task.label_column=…"
        )


def require_known(examples: Iterable[LabelledExample], names: Sequence[str], split: str) -> None:
    """Makes sure that a held-out split has no class that the training split lacks.

    Raises:
        UserError: it has one; the message says where and how many.
    """
    known = set(names)
    unknown: Counter[str] = Counter()
    first = ""
    for example in examples:
        missing = [name for name in classes_of(example) if name not in known]
        if missing and not first:
            first = example.place
        unknown.update(missing)
    if unknown:
        shown = ", ".join(f"'{name}' ({count:,})" for name, count in unknown.most_common(5))
        raise UserError(
            f"{first}: the {split} split has {len(unknown)} classes that train lacks: {shown}; "
            f"train has {', '.join(names[:10])}{', …' if len(names) > 10 else ''}: add examples of "
            "them to train, or take them out"
        )
