"""What a worker does with one item: keep its text, count its words, encode it.

An item's text is kept as a shard where the vocabulary is yet to be made of it, so that it is read
and split into sentences once. Encoded, it is a shard of ids, and the kept text is removed. Whatever
shard is there already and whole is not made again.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.duplicates import DocumentKey, document_key
from bert_lightning.corpus.encoding import TextEncoder, in_chunks
from bert_lightning.corpus.preparation.items import Item
from bert_lightning.corpus.preparation.shards import (
    Arrays,
    Shard,
    open_shard,
    written,
    written_shard,
)
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.sources import sentences_of
from bert_lightning.corpus.splits import Document
from bert_lightning.corpus.store import id_type
from bert_lightning.corpus.tokenizer import load_tokenizer_text, rows_needed
from bert_lightning.corpus.vocabulary.text import Count
from bert_lightning.corpus.words import find_segmenter

LENGTHS = ("sentence_lengths", "paragraph_lengths", "document_lengths")
_READERS = logging.getLogger(__package__.rpartition(".")[0])
"""The logger of all that reads text."""


@dataclass(frozen=True)
class Workplace:
    """Where the shards of a text are, and how it is read."""

    folder: Path
    data: CorpusConfig

    def text(self, item: Item) -> Path:
        return self.folder / f"text-{item.name}"

    def ids(self, item: Item, tokenizer: str) -> Path:
        return self.folder / f"ids-{tokenizer[:16]}-{item.name}"


def keep_text(item: Item, place: Workplace) -> None:
    """Reads an item, and keeps its sentences and the keys of its documents as a shard."""
    _kept(item, place)


def count_in(item: Item, place: Workplace, counted: np.ndarray, count: Count) -> Counter[str]:
    """Counts something in those documents of an item that are `counted`, a bool for each."""
    return count(kept_sentences(_kept(item, place), counted))


def kept_sentences(shard: Shard, wanted: np.ndarray) -> Iterator[str]:
    """Yields the sentences of those kept documents that are `wanted`, a bool for each."""
    chosen = iter(wanted.tolist())
    for arrays in shard.chunks(*_TEXT):
        for document, keep in zip(_as_documents(arrays), chosen, strict=False):
            if keep:
                yield from chain.from_iterable(document)


def encode(item: Item, place: Workplace, tokenizer: Path, sha256: str) -> None:
    """Encodes an item as a shard: the ids of its documents, whatever their splits."""
    target = place.ids(item, sha256)
    if open_shard(target) is None:
        encoder, dtype = _encoder(tokenizer, sha256, place.data.words)
        kept = open_shard(place.text(item))
        with written_shard(target) as shard:
            chunks = _kept_chunks(kept, shard.facts) if kept else _read(item, place, shard.facts)
            for documents, keys in chunks:
                ids, word_starts, *lengths = encoder.encode(documents)
                named = dict(zip(LENGTHS, (one.astype(np.uint32) for one in lengths), strict=True))
                ids = ids.astype(dtype)
                shard.append({"token_ids": ids, "word_starts": word_starts, **named, **keys})
    shutil.rmtree(place.text(item), ignore_errors=True)


@lru_cache(maxsize=1)
def _encoder(
    tokenizer: Path,
    sha256: str,  # noqa: ARG001 (another tokenizer may lie in the same file later)
    words: str | None,
) -> tuple[TextEncoder, type]:
    """Returns the encoder, which remembers words from item to item, and the type of its ids."""
    opened = load_tokenizer_text(tokenizer.read_text(encoding="utf-8"))
    return TextEncoder(opened, find_segmenter(words)), id_type(rows_needed(opened))


def forget() -> None:
    """Frees the memory of this process that the next item would need."""
    _encoder.cache_clear()


def _kept(item: Item, place: Workplace) -> Shard:
    folder = place.text(item)
    if open_shard(folder) is None:
        with written_shard(folder) as shard:
            for documents, keys in _read(item, place, shard.facts):
                shard.append({**_as_arrays(documents), **keys})
    return written(folder)


def _read(
    item: Item, place: Workplace, facts: dict[str, Any]
) -> Iterator[tuple[list[Document], Arrays]]:
    """Yields the documents of an item in chunks, with their keys; `facts` has all else at the end.

    That is what is left out, and the messages of the readers, which the merge repeats in order.
    """
    left_out = LeftOut()
    raw = chain.from_iterable(piece.raw_documents(place.data, left_out) for piece in item.pieces)
    with _noted() as messages:
        for documents in in_chunks(sentences_of(raw, place.data, left_out)):
            yield documents, _keys(documents, place.data)
    facts["left_out"] = [asdict(omission) for omission in left_out.counted()]
    facts["messages"] = messages


def _kept_chunks(kept: Shard, facts: dict[str, Any]) -> Iterator[tuple[list[Document], Arrays]]:
    facts |= kept.facts
    for arrays in kept.chunks():
        yield _as_documents(arrays), {name: arrays[name] for name in _KEYS}


@contextmanager
def _noted() -> Iterator[list[tuple[int, str]]]:
    """A context in which the messages of the readers are noted, with their levels, and not said."""
    messages: list[tuple[int, str]] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append((record.levelno, record.getMessage()))

    notes = Notes()
    _READERS.addHandler(notes)
    _READERS.propagate = False
    try:
        yield messages
    finally:
        _READERS.removeHandler(notes)
        _READERS.propagate = True


_TEXT = ("text", "sentence_characters", "paragraph_lengths", "document_lengths")
_KEYS = ("keys", "key_lengths")


def _as_arrays(documents: list[Document]) -> Arrays:
    paragraphs = list(chain.from_iterable(documents))
    sentences = list(chain.from_iterable(paragraphs))
    text = "".join(sentences).encode("utf-8", "surrogatepass")
    lengths = (
        np.array([*map(len, parts)], np.uint32) for parts in (sentences, paragraphs, documents)
    )
    return dict(zip(_TEXT, (np.frombuffer(text, np.uint8), *lengths), strict=True))


def _as_documents(arrays: Arrays) -> list[Document]:
    text = arrays["text"].tobytes().decode("utf-8", "surrogatepass")
    parts: list[Any] = _divided(text, arrays["sentence_characters"])
    parts = _divided(parts, arrays["paragraph_lengths"])
    return _divided(parts, arrays["document_lengths"])


def _divided(values: Any, lengths: np.ndarray) -> list[Any]:
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _keys(documents: list[Document], data: CorpusConfig) -> Arrays:
    keys = [document_key(document, data) for document in documents]
    flat = np.fromiter(chain.from_iterable(keys), np.uint64)
    return dict(zip(_KEYS, (flat, np.array([*map(len, keys)], np.uint32)), strict=True))


def keys_of(shard: Shard) -> Iterator[DocumentKey]:
    """Yields the keys of a shard's documents."""
    for arrays in shard.chunks(*_KEYS):
        yield from map(tuple, _divided(arrays["keys"].tolist(), arrays["key_lengths"]))
