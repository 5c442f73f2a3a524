"""What an option affects: the one mark that every option carries, beside the limits of its value.

Which options may change when a run resumes, which decide the content of a prepared corpus, which
weights of another model do not fit, which say where something lies on this machine: all of it is
derived from these marks, so no list of options stands anywhere else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from enum import Flag, auto
from typing import Any, NamedTuple, TypeVar, get_type_hints

from bert_lightning.config.limits import LIMITS, Limits
from bert_lightning.config.limits import check_limits as check_limits

Value = TypeVar("Value")
_MARK = "affects"


class Affects(Flag):
    """What changes when an option does; an option may affect several things."""

    TEXT = auto()
    """Which text there is, and its documents, sentences and splits: a prepared corpus."""
    CHOICE = auto()
    """Which text is chosen and how it is fetched; its content decides what is prepared of it."""
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


TEXT, CHOICE, TOKENS, EXAMPLES = Affects.TEXT, Affects.CHOICE, Affects.TOKENS, Affects.EXAMPLES
LEARNING, ARCHITECTURE, OPTIMIZER_STATE = (
    Affects.LEARNING,
    Affects.ARCHITECTURE,
    Affects.OPTIMIZER_STATE,
)
EXECUTION, COMMAND, PLACE = Affects.EXECUTION, Affects.COMMAND, Affects.PLACE


def option(
    default: Value,
    affects: Affects,
    way_out: str = "",
    *,
    words: Iterable[str] = (),
    also: float | None = None,
    **bounds: float,
) -> Value:
    """A dataclass field with a default, its mark, and the limits of its value.

    The bounds of a number are `at_least`, `above`, `at_most` and `below`; `also` is a value beyond
    them. `words` are all that a text may be. `way_out` ends the message of :func:`check_limits`.
    """
    limits = Limits(bounds, also, (*words,), way_out)
    return field(default=default, metadata={_MARK: affects, LIMITS: limits})


def required(affects: Affects, **bounds: float) -> Any:
    """The same for an option that has no default."""
    return field(metadata={_MARK: affects, LIMITS: Limits(bounds)})


def listed(affects: Affects, **bounds: float) -> list[Any]:
    """The same for a list that is empty by default; the bounds are those of its items."""
    return field(default_factory=list, metadata={_MARK: affects, LIMITS: Limits(bounds)})


class Option(NamedTuple):
    """One option of a config, found by walking its dataclasses."""

    name: str
    """Its full name, such as `batch.max_length`."""
    affects: Affects
    hint: Any
    """Its type."""
    limits: Limits


def options(section: type[Any], prefix: str = "") -> Iterator[Option]:
    """All options below a dataclass, in the order of their declaration.

    Raises:
        TypeError: one has no mark.
    """
    hints = get_type_hints(section)
    for entry in fields(section):
        name, hint, mark = f"{prefix}{entry.name}", hints[entry.name], entry.metadata.get(_MARK)
        if mark is not None:
            yield Option(name, mark, hint, entry.metadata[LIMITS])
        elif isinstance(hint, type) and is_dataclass(hint):
            yield from options(hint, f"{name}.")
        else:
            raise TypeError(
                f"the option {name} does not say what it affects: see config/affects.py"
            )


def named(section: type[Any], affects: Affects) -> list[str]:
    """The full names of the options below a dataclass that affect any of these things."""
    return [found.name for found in options(section) if found.affects & affects]


def leaves(
    values: Mapping[str, Any], prefix: str = "", lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their full names: `batch.max_length`, 128.

    `lists` enters lists as well: `phases.0.fraction`.
    """
    for name, value in values.items():
        if lists and isinstance(value, list):
            value = {str(place): item for place, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.", lists)
        else:
            yield f"{prefix}{name}", value
