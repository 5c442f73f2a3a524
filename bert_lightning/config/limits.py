"""The values that an option takes: its type, its bounds and its words, as its field states them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from math import isfinite
from operator import ge, gt, le, lt
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from bert_lightning.errors import UserError, did_you_mean

LIMITS = "limits"
"""The key of a field's :class:`Limits` in its metadata."""
_HOLDS = {"at_least": ge, "above": gt, "at_most": le, "below": lt}
_FRACTION = {"above": 0, "at_most": 1}
"""The bounds of a float where an option takes a count, which is an integer, or a fraction."""
_LARGEST = 2**53
"""The first integer that JSON does not tell from its neighbors."""
_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Limits:
    """The values that an option takes, among those of its type."""

    bounds: Mapping[str, float] = field(default_factory=dict)
    """Of a number: `at_least`, `above`, `at_most`, `below`."""
    also: float | None = None
    """A number beyond the bounds."""
    words: tuple[str, ...] = ()
    """All that a text may be; empty allows any."""
    way_out: str = ""
    """The end of the message for another value."""


def check_limits(section: Any, prefix: str) -> None:
    """Raises a :class:`UserError` for an option of this dataclass that has a value it cannot have.

    That is a value of another type than the option's, one beyond its limits, NaN, an infinite
    number or an empty text. The full names of the options begin with `prefix`.
    """
    hints = get_type_hints(type(section))
    for entry in fields(section):
        if LIMITS in entry.metadata:
            value = getattr(section, entry.name)
            if wrong := problem(value, hints[entry.name], entry.metadata[LIMITS]):
                raise UserError(f"{prefix}{entry.name}={_shown(value)}{wrong}")


def kinds(hint: Any) -> tuple[Any, ...]:
    """Returns the types of `X | None` and the like; of any other type itself alone."""
    return (hint,) if get_origin(hint) is list else get_args(hint) or (hint,)


def expected(hint: Any) -> str:
    """Returns what the values of a type are called in a message."""
    counted = {int, float} <= {*kinds(hint)}
    names = {**_NAMES, float: "a fraction"} if counted else _NAMES
    return " or ".join(_name(kind, names) for kind in kinds(hint))


def _name(kind: Any, names: Mapping[Any, str]) -> str:
    if kind is NoneType:
        return "null"
    if get_origin(kind) is list:
        return f"a list of {_name(get_args(kind)[0], names).removeprefix('a ')}"
    if issubclass(kind, Enum):
        return f"one of {', '.join(str(member.value) for member in kind)}"
    if is_dataclass(kind):
        return "{" + ", ".join(f"{entry.name}: …" for entry in fields(kind)) + "}"
    return names[kind]


def _shown(value: Any) -> str:
    return f"{value:g}" if type(value) is float else "null" if value is None else str(value)


def problem(value: Any, hint: Any, limits: Limits) -> str:
    """Returns what is wrong with a value, as the rest of a sentence; `""` if nothing is."""
    if hint is Any or (value is None and NoneType in kinds(hint)):
        return ""
    of_items = [get_args(kind)[0] for kind in kinds(hint) if get_origin(kind) is list]
    if isinstance(value, list) and of_items:
        problems = (problem(item, of_items[0], limits) for item in value)
        return next(filter(None, problems), "")
    if type(value) not in kinds(hint) and not (type(value) is int and float in kinds(hint)):
        return f": expects {expected(hint)}"
    if type(value) is str and not value.strip():
        return " is empty: give a value, or omit the option"
    if type(value) is str and limits.words and value not in limits.words:
        nearest = did_you_mean(value, limits.words)
        return f" is not one of {', '.join(limits.words)}{nearest}{limits.way_out}"
    return _problem_of_number(value, hint, limits) if type(value) in (int, float) else ""


def _problem_of_number(value: float, hint: Any, limits: Limits) -> str:
    bounds = limits.bounds
    if {int, float} <= {*kinds(hint)} and type(value) is float:
        bounds = _FRACTION
    if value == limits.also:
        return ""
    text = " and ".join(f"{name.replace('_', ' ')} {bounds[name]}" for name in bounds)
    if not isfinite(value):
        return f" must be a finite number{', ' * bool(text)}{text}{limits.way_out}"
    if not all(_HOLDS[name](value, bounds[name]) for name in bounds):
        return f" must be {text}{limits.way_out}"
    if type(value) is int and int in kinds(hint) and abs(value) >= _LARGEST:
        return f" must be below {_LARGEST}"
    return ""
