"""Options as plain values, fit for JSON and for checkpoints that `weights_only` reads."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Section = TypeVar("Section")


def to_plain(value: Any) -> Any:
    """Nested values with each Enum as its string."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(section: type[Section], values: Mapping[str, Any]) -> Section:
    """The options of one group, or of a whole config, from plain values of its own fields.

    Raises:
        TypeError: an option that this group does not have.
        ValueError: a value that an option does not take.
    """
    types = get_type_hints(section)
    return section(**{name: _typed(types.get(name), value) for name, value in values.items()})


def _typed(hint: Any, value: Any) -> Any:
    for kind in (hint, *get_args(hint)):  # `X` and `X | None` alike
        if isinstance(kind, type) and issubclass(kind, Enum) and value is not None:
            return kind(value)
        if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
            return from_plain(kind, value)
        if get_origin(kind) is list and isinstance(value, list):
            (of_items,) = get_args(kind)
            return [_typed(of_items, item) for item in value]
    return value
