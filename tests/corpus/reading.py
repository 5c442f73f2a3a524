"""Reads texts of one's own as a run does, up to their sentences."""

from pathlib import Path
from typing import Any

import pytest

from bert_lightning.config import CorpusConfig, CorpusSource, Format
from bert_lightning.corpus.readers.left_out import LEFT_OUT, LeftOut
from bert_lightning.corpus.sources import find_source
from bert_lightning.corpus.splits import Document
from bert_lightning.errors import UserError


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
    documents = [document for _, document in source.read(left_out)]
    found = [*source.unread_files, *left_out]
    return documents, {one.what: one.count for one in found if one.fate == LEFT_OUT}


def refusal(path: Path | str, **options: Any) -> str:
    """Returns the message of the error."""
    with pytest.raises(UserError) as error:
        read(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
