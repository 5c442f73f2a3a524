"""What an option affects: the one mark that every option carries.

Which options may change when a run resumes, which decide the content of a prepared corpus, which
weights of another model do not fit, which say where something lies on this machine: all of it is
derived from these marks, so no list of options stands anywhere else.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import Flag, auto
from typing import Any, TypeVar, get_args, get_type_hints

Value = TypeVar("Value")
_MARK = "affects"


class Affects(Flag):
    """What changes when an option does; an option may affect several things."""

    TEXT = auto()
    """Which text there is, and its documents, sentences and splits: a prepared corpus."""
    TOKENS = auto()
    """The vocabulary, and with it the token ids of a prepared corpus."""
    EXAMPLES = auto()
    """What an example is: its length, its two halves. A run and its evaluation have this alike."""
    LEARNING = auto()
    """What a run learns: batches, masks, losses, updates and how many of them."""
    ARCHITECTURE = auto()
    """What a model computes: weights of another value do not fit."""
    OPTIMIZER_STATE = auto()
    """The kind of the optimizer's state, which no other kind can resume from."""
    EXECUTION = auto()
    """Where, how fast and in how much memory a run computes, and what it logs, shows and saves."""
    COMMAND = auto()
    """One command, and not the run that it starts or resumes."""
    PLACE = auto()
    """Nothing by its value: it says where something lies on this machine."""


TEXT, TOKENS, EXAMPLES = Affects.TEXT, Affects.TOKENS, Affects.EXAMPLES
LEARNING, ARCHITECTURE = Affects.LEARNING, Affects.ARCHITECTURE
OPTIMIZER_STATE = Affects.OPTIMIZER_STATE
EXECUTION, COMMAND, PLACE = Affects.EXECUTION, Affects.COMMAND, Affects.PLACE


def option(default: Value, affects: Affects) -> Value:
    """A dataclass field with a default and its mark."""
    return field(default=default, metadata={_MARK: affects})


def listed(make: Callable[[], Value], affects: Affects) -> Value:
    """The same for a default that is made anew for each config, such as a list."""
    return field(default_factory=make, metadata={_MARK: affects})


def required(affects: Affects) -> Any:
    """The same for an option that has no default."""
    return field(metadata={_MARK: affects})


@dataclass(frozen=True)
class Option:
    """One option of a config, found by walking its dataclasses."""

    name: str
    """Its full name, such as `batch.max_length`."""
    affects: Affects
    hint: Any
    """Its type."""


def options(section: type[Any], prefix: str = "") -> Iterator[Option]:
    """All options below a dataclass, in the order of their declaration.

    Raises:
        TypeError: one has no mark.
    """
    hints = get_type_hints(section)
    for entry in fields(section):
        name, hint = f"{prefix}{entry.name}", hints[entry.name]
        inner = section_of(hint)
        if inner is not None and _MARK not in entry.metadata:
            yield from options(inner, f"{name}.")
        else:
            yield Option(name, _mark_of(entry, name), hint)


def _mark_of(entry: "Field[Any]", name: str) -> Affects:
    mark = entry.metadata.get(_MARK)
    if not isinstance(mark, Affects):
        raise TypeError(f"the option {name} does not say what it affects: see config/affects.py")
    return mark


def section_of(hint: Any) -> type[Any] | None:
    """The dataclass behind `X`, `X | None` or `list[X] | None`; None for everything else."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for part in get_args(hint) if (found := section_of(part))), None)


def named(section: type[Any], affects: Affects) -> list[str]:
    """The full names of the options below a dataclass that affect any of these things."""
    return [found.name for found in options(section) if found.affects & affects]


def leaves(
    values: Mapping[str, Any], prefix: str = "", lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their full names: `batch.max_length`, 128.

    Args:
        values: of a config or a part of it.
        prefix: what the names begin with.
        lists: whether to enter lists as well: `phases.0.fraction`.
    """
    for name, value in values.items():
        if lists and isinstance(value, list):
            value = {str(place): item for place, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.", lists)
        else:
            yield f"{prefix}{name}", value
