"""Reads texts of one's own as a run does, up to their sentences."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.config import CorpusConfig, CorpusSource, Format
from bert_lightning.corpus.readers.left_out import LEFT_OUT, LeftOut
from bert_lightning.corpus.sources import TextSource, find_source, sentences_of
from bert_lightning.corpus.splits import Document, require_documents, split_documents
from bert_lightning.errors import UserError


def read_source(source: TextSource, left_out: LeftOut) -> Iterator[tuple[str, Document]]:
    """Reads a text piece by piece, and assigns its documents to splits, the plain way."""
    pieces = source.pieces()
    given = {piece.split for piece in pieces if piece.split is not None}
    for split in dict.fromkeys(piece.split for piece in pieces):
        raw = chain.from_iterable(
            piece.raw_documents(source.data, left_out) for piece in pieces if piece.split == split
        )
        documents = sentences_of(raw, source.data, left_out)
        origin = source.origins[split]
        if split is not None:
            yield from require_documents(split, documents, source.data, origin)
            continue
        yield from split_documents(
            documents, source.data, source.min_documents, origin, left_out, given
        )


def config_of(path: Path | str, **options: Any) -> CorpusConfig:
    base = {
        "format": Format.prose,
        "min_sentences": 1,
        "validation_fraction": 0.0,
        "test_fraction": 0.0,
    }
    return CorpusConfig(source=CorpusSource.text, path=str(path), **(base | options))


def documents_of(path: Path | str, **options: Any) -> list[Document]:
    return read(path, **options)[0]


def read(path: Path | str, **options: Any) -> tuple[list[Document], dict[str, int]]:
    """Returns the documents, and how many things were left out of each kind."""
    source, left_out = find_source(config_of(path, **options), 1), LeftOut()
    documents = [document for _, document in read_source(source, left_out)]
    found = [*source.unread_files, *left_out]
    return documents, {one.what: one.count for one in found if one.fate == LEFT_OUT}


def refusal(path: Path | str, **options: Any) -> str:
    """Returns the message of the error."""
    with pytest.raises(UserError) as error:
        read(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
