"""A source of text → a stream of documents of paragraphs of sentences, each with its split."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from bert_lightning.config import CorpusConfig, CorpusSource, Format
from bert_lightning.corpus.cache import hash_text_files
from bert_lightning.corpus.readers.builtin import builtin_documents
from bert_lightning.corpus.readers.tables import hub_rows
from bert_lightning.corpus.readers.text_files import (
    find_text_files,
    part_at_headings,
    raw_documents,
    read_lines,
    rows_as_documents,
)
from bert_lightning.corpus.sentences import find_splitter, splitter_version
from bert_lightning.corpus.splits import Document, hold_out, some, usable, ways_out
from bert_lightning.errors import UserError

SPLITS = ("train", "validation", "test")
_WIKITEXT_FILES = ("wiki.train", "wiki.valid", "wiki.test")


@dataclass(frozen=True)
class TextSource:
    """Text that can be read, and what identifies it without reading it all."""

    name: str
    origin: str
    """Where the text comes from, for people."""
    fingerprint: dict[str, Any]
    """What decides the result of `read`: hashes of the text, a hub's commit, options."""
    text_format: Format
    read: Callable[[], Iterator[tuple[str, Document]]]
    """Reads all documents with their splits, each time alike and `train` first where the splits
    are separate; raises UnavailableError where the text is out of reach."""


def find_source(data: CorpusConfig, min_documents: int) -> TextSource:
    """The source that the config asks for.

    Raises:
        UserError: where a file is missing, or there is no such splitter.
    """
    match data.source:
        case CorpusSource.builtin:
            return builtin_source(data, min_documents)
        case CorpusSource.text:
            return _text_source(data, min_documents)
        case CorpusSource.hub:
            if data.path is not None:
                return _wikitext_folder(data, data.path)
            return _hub_source(data, min_documents)


def builtin_source(data: CorpusConfig, min_documents: int) -> TextSource:
    """The prose that every CPython carries: its documentation."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    # Where this stands in for another corpus, that one's splitter and name are not meant.
    sentences = (data.sentences if data.source is CorpusSource.builtin else None) or "prose"
    name = (data.name if data.source is CorpusSource.builtin else None) or "builtin"

    def read() -> Iterator[tuple[str, Document]]:
        raw = builtin_documents()
        return hold_out(_documents(raw, sentences, data), data, min_documents, "the built-in text")

    return TextSource(
        name=name,
        origin=f"pydoc_data.topics of Python {version}",
        fingerprint={"builtin": version, **_options(data, sentences, min_documents)},
        text_format=Format.prose,
        read=read,
    )


def _wikitext_folder(data: CorpusConfig, folder: str) -> TextSource:
    path = Path(folder).expanduser()
    ending = "raw" if (path / f"{_WIKITEXT_FILES[0]}.raw").is_file() else "tokens"
    files = dict(zip(SPLITS, (path / f"{name}.{ending}" for name in _WIKITEXT_FILES), strict=True))
    for file in files.values():
        if not file.is_file():
            raise UserError(
                f"data.path={folder}: there is no file {file.absolute()} "
                f"(the working directory is {Path.cwd()}); WikiText's folder holds "
                f"{', '.join(f'{name}.tokens' for name in _WIKITEXT_FILES)}; "
                "for text of your own: data=text data.path='notes/*.txt'"
            )
    sentences = data.sentences or Format.wikitext.value

    def read() -> Iterator[tuple[str, Document]]:
        for split, file in files.items():
            documents = _documents(part_at_headings(read_lines(file)), sentences, data)
            yield from some(split, documents, data, str(file.absolute()))

    given = {"validation_fraction", "test_fraction", "min_documents"}  # of splits that are there
    options = {
        name: value for name, value in _options(data, sentences, 0).items() if name not in given
    }
    return TextSource(
        name=data.shown_name,
        origin=str(path.resolve()),
        fingerprint={"wikitext": hash_text_files(list(files.values()), data), **options},
        text_format=Format.wikitext,
        read=read,
    )


def _hub_source(data: CorpusConfig, min_documents: int) -> TextSource:
    commit = f"{data.hub_repository}/{data.hub_name}@{data.hub_revision}"
    sentences = data.sentences or data.format.value
    rows = cache(lambda: hub_rows(data))

    def documents(split: str) -> Iterator[Document]:
        texts = rows()[split]
        if data.format is Format.wikitext:
            raw = part_at_headings(text.rstrip("\n") for text in texts)
        else:
            raw = rows_as_documents(texts)
        return _documents(raw, sentences, data)

    def read() -> Iterator[tuple[str, Document]]:
        given = [split for split in SPLITS if split in rows()]
        if "train" not in given:
            raise UserError(
                f"{commit} has no split 'train'; it has {', '.join(rows())}: "
                "choose another data.hub_name"
            )
        yield from hold_out(documents("train"), data, min_documents, commit, given)
        for split in given[1:]:
            yield from some(split, documents(split), data, commit)

    return TextSource(
        name=data.shown_name,
        origin=commit,
        fingerprint={
            "hub": commit,
            "text_column": data.text_column,
            "format": data.format.value,
            **_options(data, sentences, min_documents),
        },
        text_format=data.format,
        read=read,
    )


def _text_source(data: CorpusConfig, min_documents: int) -> TextSource:
    files = find_text_files(data)
    sentences = data.sentences or data.format.value

    def read() -> Iterator[tuple[str, Document]]:
        seen: Counter[str] = Counter()
        raw = chain.from_iterable(raw_documents(file, data) for file in files)
        documents = _documents(_counted(raw, seen), sentences, data)
        first = next(documents, None)
        if first is None:
            wrapped = "; for text with hard line breaks: data.hard_wrapped=true"
            raise UserError(
                f"data.path={data.path}: {len(files)} files, {seen['documents']} documents and "
                f"{seen['paragraphs']} paragraphs, none of them {usable(data)}{ways_out(data)}"
                + ("" if data.hard_wrapped or data.format is Format.wikitext else wrapped)
            )
        yield from hold_out(
            chain([first], documents), data, min_documents, f"data.path={data.path}"
        )

    return TextSource(
        name=data.shown_name,
        origin=f"{data.path} ({len(files)} files)",
        fingerprint={
            "text": hash_text_files(files, data),
            "format": data.format.value,
            "hard_wrapped": data.hard_wrapped,
            "text_column": data.text_column,
            **_options(data, sentences, min_documents),
        },
        text_format=data.format,
        read=read,
    )


def _counted(raw: Iterable[list[str]], seen: Counter[str]) -> Iterator[list[str]]:
    for paragraphs in raw:
        seen["documents"] += 1
        seen["paragraphs"] += len(paragraphs)
        yield paragraphs


def _documents(raw: Iterable[list[str]], sentences: str, data: CorpusConfig) -> Iterator[Document]:
    """Splits paragraphs into sentences and keeps those that have enough.

    With WikiText's splitter, as in the textbook, what counts is how often the delimiter ` . `
    stands in the paragraph, be it at its end: one such sentence alone makes no pair, but its
    words are in the vocabulary.
    """
    split = find_splitter(sentences)
    delimiters = data.min_sentences - 1 if sentences == Format.wikitext.value else 0
    fewest = data.min_sentences - delimiters
    for paragraphs in raw:
        enough = (text for text in paragraphs if text.count(" . ") >= delimiters)
        document = [found for text in enough if len(found := split(text)) >= fewest]
        if document:
            yield document


def _options(data: CorpusConfig, sentences: str, min_documents: int) -> dict[str, Any]:
    return {
        "sentences": sentences,
        "splitter_version": splitter_version(sentences),
        "min_sentences": data.min_sentences,
        "min_documents": min_documents,
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
    }
