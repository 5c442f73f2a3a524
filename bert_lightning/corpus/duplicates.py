"""Which documents are duplicates of each other, by small keys that each one has for itself."""

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from itertools import chain
from math import ceil
from typing import Any
from zlib import crc32

from bert_lightning.config import CorpusConfig, DocumentUnit
from bert_lightning.corpus.readers.left_out import LeftOut, usable
from bert_lightning.errors import UserError

DocumentKey = tuple[int, ...]
"""Numbers of 64 bits, the first of all its text: two documents that share one are duplicates."""

_UNIT = re.compile(r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff]+|\w")
"""A word, or a character of a script that is written without spaces."""
_SHINGLE = 5
"""Units in a row whose sets are compared."""
_PERMUTATIONS = 128
_MISSED, _MISTAKEN = 0.9, 0.1
"""How bad it is to miss a near duplicate, and to take other documents for some."""
_BATCH = 10_000
"""Shingles that are hashed together."""

_CODE = 3
"""The bits of a slot that hold a split; the others are the value's own."""


def document_key(document: Sequence[Sequence[str]], data: CorpusConfig) -> DocumentKey:
    """Returns the key of a document: equal for the same sentences in the same order.

    With `data.near_duplicates` similar documents share a value as well: the set of their runs of
    five words is made into a MinHash, whose bands are values (Broder, 1997; Leskovec et al., Mining
    of Massive Datasets, section 3.4).
    """
    text = "\n".join(chain.from_iterable(document))
    exact = _number(text.encode("utf-8", "surrogatepass"))
    if data.near_duplicates is None:
        return (exact,)
    return exact, *_bands(text, data.near_duplicates)


def _number(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def _bands(text: str, threshold: float) -> list[int]:
    """Returns the values of a text that another one, which is similar, shares with it, if any."""
    units = [unit.encode() for unit in _UNIT.findall(text.lower())]
    last = max(1, len(units) - _SHINGLE + 1)
    shingles = [b" ".join(units[start : start + _SHINGLE]) for start in range(last)]
    empty, bands, rows = _sketch(threshold)
    minhash = empty.copy()
    for start in range(0, last, _BATCH):
        minhash.update_batch(shingles[start : start + _BATCH])
    values = minhash.hashvalues[: bands * rows].reshape(bands, rows).astype("<u4")
    return [_number(bytes([band]) + row.tobytes()) for band, row in enumerate(values)]


@cache
def _sketch(threshold: float) -> tuple[Any, int, int]:
    """Returns the MinHash of no text, and the bands and rows that find such similar texts."""
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise UserError(
            f"data.near_duplicates={threshold:g} needs the package datasketch, which is not "
            "installed: pip install 'bert-lightning[dedup]', or use data.near_duplicates=null, "
            "which finds exact duplicates alone"
        ) from error
    index = MinHashLSH(threshold, _PERMUTATIONS, weights=(_MISTAKEN, _MISSED))
    return MinHash(_PERMUTATIONS, hashfunc=crc32), index.b, index.r


class Groups:
    """Remembers which split the documents with a value in their keys are in.

    It is one table of open addressing, 11 to 22 bytes a value: there may be millions of documents.
    """

    def __init__(self) -> None:
        self._splits = [""]
        self._slots = array("Q", bytes(8 << 10))
        self._used = 0
        self._exact = self._near = self._torn = 0

    def split_of(self, key: DocumentKey) -> str | None:
        """Returns the split of the documents that this one is a duplicate of; None without any."""
        splits = [self._splits[self._slots[self._place(value)] & _CODE] for value in key]
        found = [split for split in splits if split]
        if found:
            exact = bool(splits[0])
            self._exact, self._near = self._exact + exact, self._near + (not exact)
            self._torn += not exact and len({*found}) > 1
        return found[0] if found else None

    def add(self, key: DocumentKey, split: str) -> None:
        """Remembers the split for the values of a key that are not known yet."""
        if split not in self._splits:
            self._splits.append(split)
        for value in key:
            place = self._place(value)
            if not self._slots[place]:
                self._slots[place] = value & ~_CODE | self._splits.index(split)
                self._used += 1
        if self._used * 4 > len(self._slots) * 3:
            self._grow()

    def count(self, left_out: LeftOut) -> None:
        """Counts the duplicates that were found."""
        for what, number in {
            "documents that another one repeats": self._exact,
            "documents that resemble an earlier one (data.near_duplicates)": self._near,
        }.items():
            if number:
                left_out.add(what, count=number, fate="Kept on one side of the split")
        if self._torn:
            what = "documents that resemble documents of several splits"
            left_out.add(what, count=self._torn, fate="Kept with the first of them")

    def _place(self, value: int) -> int:
        """Returns the slot that holds a value, or the empty one where it belongs."""
        last = len(self._slots) - 1
        place = value >> 2 & last
        while self._slots[place] and (self._slots[place] ^ value) & ~_CODE:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(16 * len(before)))
        for slot in before:
            if slot:
                self._slots[self._place(slot)] = slot


def look_ahead(
    keys: Iterator[DocumentKey],
    data: CorpusConfig,
    min_documents: int,
    fractions: Mapping[str, float],
    origin: str,
) -> tuple[list[DocumentKey], int]:
    """Returns the first keys, as many as decide how large the splits are, and how many differ.

    Raises:
        UserError: there are too few for these splits.
    """
    needed = min_documents * (1 + len(fractions))
    most = max(needed, *(ceil(min_documents / fraction) for fraction in fractions.values()))
    ahead, distinct, groups = list[DocumentKey](), 0, Groups()
    for key in keys:
        ahead.append(key)
        distinct += groups.split_of(key) is None
        groups.add(key, "train")
        if distinct == most:
            break
    if distinct < needed:
        reason = ", as a random second sentence comes from another document"
        copies = f" ({len(ahead)} with duplicates)" * (distinct < len(ahead))
        of_files = data.document is DocumentUnit.file
        divided = "divide files (data.document=blank_line)" if of_files else "separate documents"
        raise UserError(
            f"{origin} has {distinct} documents{copies} that have a paragraph {usable(data)}, and "
            f"{needed} are needed, {min_documents} for each split{reason * (min_documents > 1)}; "
            f"{divided} by blank lines, give more files, or hold out nothing: "
            + " ".join(f"data.{name}_fraction=0" for name in fractions)
        )
    return ahead, distinct
