"""Which documents belong to which split, if the corpus does not say so itself."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import chain
from math import ceil
from typing import TypeVar

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.duplicates import DocumentKey, Groups, document_key, look_ahead
from bert_lightning.corpus.readers.left_out import LeftOut, usable, ways_out
from bert_lightning.errors import UserError

SPLITS = ("train", "validation", "test")
Document = list[list[str]]
"""Paragraphs, each a list of sentences."""
Item = TypeVar("Item")


def require_documents(
    split: str, items: Iterable[Item], data: CorpusConfig, origin: str
) -> Iterator[tuple[str, Item]]:
    """Passes on the documents of a given split, or their keys: there must be some."""
    item = None
    for item in items:
        yield split, item
    if item is None:
        raise UserError(
            f"{origin}: the {split} split has 0 documents that have a paragraph {usable(data)}"
            f"{ways_out(data)}"
        )


def split_documents(
    documents: Iterable[Document],
    data: CorpusConfig,
    min_documents: int,
    origin: str,
    left_out: LeftOut,
    given: Iterable[str] = (),
) -> Iterator[tuple[str, Document]]:
    """Yields each document with the split that :func:`assign_splits` finds for its key."""
    waiting: deque[Document] = deque()
    firsts: dict[int, Document] = {}

    def keys() -> Iterator[DocumentKey]:
        for document in documents:
            key = document_key(document, data)
            waiting.append(firsts.setdefault(key[0], document))  # copies need no memory
            yield key

    for split in assign_splits(keys(), data, min_documents, origin, left_out, given):
        firsts.clear()
        yield split, waiting.popleft()


def assign_splits(
    keys: Iterable[DocumentKey],
    data: CorpusConfig,
    min_documents: int,
    origin: str,
    left_out: LeftOut,
    given: Iterable[str] = (),
) -> Iterator[str]:
    """Assigns whole documents, evenly spread over the corpus, to the splits that are not given.

    A document's split follows from its number and the fractions. If the corpus is so small that a
    fraction of it is less than a split needs, it also follows from the number of all documents. A
    duplicate of an earlier document has no number: it is in the split of that one.
    """
    wanted = {"test": data.test_fraction, "validation": data.validation_fraction}
    fractions = {name: part for name, part in wanted.items() if part > 0 and name not in given}
    if not fractions:
        yield from (split for split, _ in require_documents("train", keys, data, origin))
        return
    keys = iter(keys)
    ahead, distinct = look_ahead(keys, data, min_documents, fractions, origin)
    offered: Counter[str] = Counter()
    assigned: Counter[str] = Counter()
    groups = Groups()
    for key in chain(ahead, keys):
        known = groups.split_of(key)
        split = known or _split_of_next(offered, fractions, min_documents / distinct)
        groups.add(key, split)
        assigned[split] += 1
        yield split
    groups.count(left_out)
    if not assigned["train"]:
        held = " and ".join(f"data.{name}_fraction={part:g}" for name, part in fractions.items())
        raise UserError(
            f"{held} hold out all {assigned.total():,} documents of {origin}: lower one"
        )


def _split_of_next(offered: Counter[str], fractions: dict[str, float], at_least: float) -> str:
    """Returns the split of the next document; `offered` counts the documents offered to each."""
    left = 1.0
    for name, fraction in fractions.items():
        fraction = max(fraction, at_least)
        before, offered[name] = offered[name], offered[name] + 1
        if ceil(offered[name] * fraction / left - 0.5) > ceil(before * fraction / left - 0.5):
            return name
        left -= fraction
    return "train"
