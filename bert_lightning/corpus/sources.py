"""A source of text → a stream of documents of paragraphs of sentences, each with its split."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from bert_lightning.config import CorpusConfig, CorpusSource, Format
from bert_lightning.config.affects import PLACE, TEXT, named
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.catalog import cache_folder
from bert_lightning.corpus.fingerprints import hash_text_files
from bert_lightning.corpus.manifest import digest
from bert_lightning.corpus.readers.builtin import builtin_documents
from bert_lightning.corpus.readers.tables import hub_rows
from bert_lightning.corpus.readers.text_files import (
    find_text_files,
    raw_documents,
    read_lines,
    rows_as_documents,
    split_at_headings,
)
from bert_lightning.corpus.sentences import find_splitter, splitter_version
from bert_lightning.corpus.splits import (
    Document,
    assign_splits,
    require_documents,
    usable,
    ways_out,
)
from bert_lightning.errors import UserError

SPLITS = ("train", "validation", "test")
_WIKITEXT_FILES = ("wiki.train", "wiki.valid", "wiki.test")
_HUB = {"hub_repository", "hub_name", "hub_revision"}
_NEVER_CONTENT = {"source", "name", "fallback", "streaming"}
"""Options that choose a text or how it is fetched, and leave its content as it is."""


@dataclass(frozen=True)
class TextSource:
    """A text that can be read, and its identity."""

    name: str
    origin: str
    """The place that the text comes from, for people."""
    fingerprint: dict[str, Any]
    """All that decides the result of `read`, as plain values: hashes of the text, and options."""
    text_format: Format
    read: Callable[[], Iterator[tuple[str, Document]]]
    """Reads all documents with their splits: the same each time, `train` first if the splits are
    separate. Raises UnavailableError if the text cannot be reached."""


def find_source(data: CorpusConfig, min_documents: int) -> TextSource:
    """Returns the source that the config names.

    Args:
        data: the options of the text.
        min_documents: documents that each split must have.

    Raises:
        UserError: a file is missing, or there is no such splitter.
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
    """Returns the text that comes with every CPython: its documentation."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    # As a fallback for another corpus, it does not take that one's splitter and name.
    sentences = (data.sentences if data.source is CorpusSource.builtin else None) or "prose"
    name = (data.name if data.source is CorpusSource.builtin else None) or "builtin"

    def read() -> Iterator[tuple[str, Document]]:
        documents = _documents(builtin_documents(), sentences, data)
        return assign_splits(documents, data, min_documents, "the built-in text")

    return TextSource(
        name=name,
        origin=f"pydoc_data.topics of Python {version}",
        fingerprint=_fingerprint(
            *("builtin", f"Python {version}", data, sentences, min_documents),
            ignored={"format", "text_column", "hard_wrapped"} | _HUB,
        ),
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
            documents = _documents(split_at_headings(read_lines(file)), sentences, data)
            yield from require_documents(split, documents, data, str(file.absolute()))

    return TextSource(
        name=data.shown_name,
        origin=str(path.resolve()),
        fingerprint=_fingerprint(
            *("wikitext", _content(list(files.values()), data), data, sentences),
            min_documents=0,  # these splits are given
            ignored={"format", "text_column", "hard_wrapped"}
            | {"validation_fraction", "test_fraction"}
            | _HUB,
        ),
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
            raw = split_at_headings(text.rstrip("\n") for text in texts)
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
        yield from assign_splits(documents("train"), data, min_documents, commit, given)
        for split in given[1:]:
            yield from require_documents(split, documents(split), data, commit)

    return TextSource(
        name=data.shown_name,
        origin=commit,
        fingerprint=_fingerprint(
            *("hub", "", data, sentences, min_documents), ignored={"hard_wrapped"}
        ),
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
        yield from assign_splits(
            chain([first], documents), data, min_documents, f"data.path={data.path}"
        )

    return TextSource(
        name=data.shown_name,
        origin=f"{data.path} ({len(files)} files)",
        fingerprint=_fingerprint(
            *("files", _content(files, data), data, sentences, min_documents), ignored=_HUB
        ),
        text_format=data.format,
        read=read,
    )


def _counted(raw: Iterable[list[str]], seen: Counter[str]) -> Iterator[list[str]]:
    for paragraphs in raw:
        seen["documents"] += 1
        seen["paragraphs"] += len(paragraphs)
        yield paragraphs


def _documents(raw: Iterable[list[str]], sentences: str, data: CorpusConfig) -> Iterator[Document]:
    """Splits paragraphs into sentences and keeps the paragraphs that have enough of them.

    With WikiText's splitter, as in the textbook, the number of delimiters ` . ` in the paragraph
    counts, even at its end: a single sentence with one gives no pair, but its words enter the
    vocabulary.
    """
    split = find_splitter(sentences)
    delimiters = data.min_sentences - 1 if sentences == Format.wikitext.value else 0
    fewest = data.min_sentences - delimiters
    for paragraphs in raw:
        enough = (text for text in paragraphs if text.count(" . ") >= delimiters)
        document = [found for text in enough if len(found := split(text)) >= fewest]
        if document:
            yield document


def _content(files: Sequence[Path], data: CorpusConfig) -> str:
    """Returns what identifies the content of text files; their paths do not."""
    hashes = hash_text_files(files, cache_folder(data))
    return f"{len(files)} files, SHA-256 {digest({'files': hashes})}"


def _fingerprint(
    kind: str,
    content: str,
    data: CorpusConfig,
    sentences: str,
    min_documents: int,
    ignored: set[str],
) -> dict[str, Any]:
    """Returns the fingerprint of a text.

    Args:
        kind: the kind of the source.
        content: what identifies the text before any option applies to it.
        data: its options. All that affect the text count, except for `ignored` ones.
        sentences: the splitter that `data.sentences` stands for.
        min_documents: documents that each split must have; 0 if the splits are given.
        ignored: the options that this kind of source does not read.
    """
    values = {**to_plain(asdict(data)), "sentences": sentences}
    skipped = {*named(CorpusConfig, PLACE), *_NEVER_CONTENT, *ignored}
    return {
        "kind": kind,
        "content": content,
        "options": {
            f"data.{name}": values[name]
            for name in named(CorpusConfig, TEXT)
            if name not in skipped
        },
        "splitter_version": splitter_version(sentences),
        "min_documents": min_documents,
    }
