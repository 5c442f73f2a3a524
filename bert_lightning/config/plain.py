"""Options as plain values, fit for JSON and for checkpoints that `weights_only` reads."""

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, TypeVar, get_type_hints

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
    """The options of one group, from plain values of its own fields.

    Raises:
        TypeError: an option that this group does not have.
        ValueError: a value that an option does not take.
    """
    types = get_type_hints(section)
    enums = {
        option.name: types[option.name]
        for option in fields(section)  # type: ignore[arg-type]
        if isinstance(types[option.name], type) and issubclass(types[option.name], Enum)
    }
    return section(
        **{name: enums[name](value) if name in enums else value for name, value in values.items()}
    )
