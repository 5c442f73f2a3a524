"""The values that an option takes, and those that it must refuse, as its field declares them."""

from collections.abc import Iterator
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin

from bert_lightning.config.affects import Option
from bert_lightning.config.limits import kinds

NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


def refused(option: Option) -> Iterator[Any]:
    """Values of another type, beyond each bound, not finite, not among the words, and empty."""
    of, bounds = {*kinds(option.hint)}, option.limits.bounds
    if option.hint is Any:
        return
    if NoneType not in of:
        yield None
    if any(get_origin(kind) is list for kind in of):
        (items,) = [get_args(kind)[0] for kind in of if get_origin(kind) is list]
        yield from (1, "a,b", {"a": 1}, [None], [["nested"]])
        if items in (int, float):
            yield from ([1, value] for value in (*NOT_FINITE, True, "x"))
            yield from ([1, value] for value in beyond(bounds))
        return
    yield from ([1], {"a": 1}, b"bytes")
    if bool in of:
        yield from (2, 1.0, "maybe", "")
    elif str in of:
        yield from (1, 1.5, True, "", " ")
        yield from ("no such word", "NORM") if option.limits.words else ()
    elif {int, float} & of:
        yield from (True, "x", "", "1e-4x", *NOT_FINITE)
        yield from (value for value in beyond(bounds) if value != option.limits.also)
        if float not in of:
            yield from (1.5, 1e3, 2**80)
        elif int in of:
            yield from (0.0, 1.5, -0.5)
    else:  # words of an Enum
        yield from ("no such word", "", 1)


def beyond(bounds: Any) -> Iterator[float]:
    """The nearest numbers outside of the bounds."""
    for name, outside in (("at_least", -1), ("above", 0), ("at_most", 1), ("below", 0)):
        if name in bounds:
            yield bounds[name] + outside


def taken(option: Option) -> Iterator[Any]:
    """Values at the edges of what an option takes: a few of each of its types."""
    of, bounds = {*kinds(option.hint)}, option.limits.bounds
    if NoneType in of:
        yield None
    if option.limits.also is not None:
        yield option.limits.also
    for kind in of - {NoneType}:
        if kind is bool:
            yield from (False, True)
        elif kind is int:
            yield from (bounds[name] for name in ("at_least", "at_most") if name in bounds)
        elif kind is float and int in of:
            yield from (0.5, 1.0)
        elif kind is float:
            yield from (float(bounds[name]) for name in ("at_least", "at_most") if name in bounds)
            yield from (bounds["above"] + 1e-6 for _ in bounds if "above" in bounds)
        elif kind is str:
            yield from option.limits.words
        elif isinstance(kind, type) and issubclass(kind, Enum):
            yield from kind
