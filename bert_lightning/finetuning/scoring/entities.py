"""Entities in a sequence of BIO labels, read as the CoNLL evaluation script reads them."""

from collections.abc import Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Entity(NamedTuple):
    """A span of words and its kind."""

    kind: str
    start: int
    """The first word."""
    end: int
    """One past the last word."""


def is_bio(labels: Sequence[str]) -> bool:
    """Returns whether label names mark entities: all are `O`, `B-kind` or `I-kind`, and some begin.

    >>> is_bio(["B-person", "I-person", "O"]), is_bio(["NOUN", "O"]), is_bio(["O"])
    (True, False, False)
    """
    inside = [name for name in labels if name != OUTSIDE]
    return bool(inside) and all(name[:2] in ("B-", "I-") and name[2:] for name in inside)


def entities(labels: Sequence[str]) -> list[Entity]:
    """Returns the entities of one sequence, in order.

    Broken sequences are repaired as conlleval does (Tjong Kim Sang and Buchholz, 2000): an `I-`
    after `O`, or after another kind, begins an entity.

    >>> entities(["B-place", "I-place", "O", "I-person", "B-person"])
    ... # doctest: +NORMALIZE_WHITESPACE
    [Entity(kind='place', start=0, end=2), Entity(kind='person', start=3, end=4),
     Entity(kind='person', start=4, end=5)]
    """
    found: list[Entity] = []
    start, kind = 0, ""  # of the entity that is open; none where `kind` is empty
    for place, label in enumerate([*labels, OUTSIDE]):
        mark, _, named = label.partition("-")
        if kind and (mark != "I" or named != kind):
            found.append(Entity(kind, start, place))
            kind = ""
        if mark in ("B", "I") and not kind:
            start, kind = place, named
    return found
