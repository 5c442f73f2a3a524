"""A source of text → its pieces, and the documents of paragraphs of sentences in them."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from bert_lightning.config import CorpusConfig, CorpusSource, Format
from bert_lightning.config.affects import CHOICE, PLACE, TEXT, named
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.catalog import cache_folder
from bert_lightning.corpus.fingerprints import hash_text_files
from bert_lightning.corpus.manifest import digest
from bert_lightning.corpus.preparation.files import FilePiece, file_pieces
from bert_lightning.corpus.preparation.items import Piece
from bert_lightning.corpus.preparation.pieces import HubPiece, HubTables, ManualPiece, hub_pieces
from bert_lightning.corpus.readers.find_files import find_text_files
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.layout.document_units import settle_documents
from bert_lightning.corpus.readers.left_out import LeftOut, announce, shown, usable, ways_out
from bert_lightning.corpus.readers.lines import MEGABYTE
from bert_lightning.corpus.readers.storage.opening import File, size_of
from bert_lightning.corpus.sentences import find_splitter, splitter_version
from bert_lightning.corpus.splits import SPLITS, Document
from bert_lightning.corpus.words import segmenter_version
from bert_lightning.errors import UserError
from bert_lightning.work import working

_WIKITEXT_FILES = ("wiki.train", "wiki.valid", "wiki.test")
_HUB = {"hub_repository", "hub_name", "hub_revision"}
_PROSE = {"hard_wrapped", "document"}
_FIXED_FORMAT = {"format", "text_column"} | _PROSE | _HUB
"""Options that sources of one format do not read."""


@dataclass(frozen=True)
class TextSource:
    """A text that can be read, and its identity."""

    name: str
    origin: str
    """The place that the text comes from, for people."""
    fingerprint: dict[str, Any]
    """All that decides its documents and splits, as plain values: text hashes and options."""
    data: CorpusConfig
    """How it is read."""
    min_documents: int
    """What each split must have, where the text has none by itself."""
    pieces: Callable[[], list[Piece]]
    """Returns all of the text, `train` first if the splits are separate: the same each time. Raises
    UnavailableError if the text cannot be reached."""
    origins: dict[str | None, str]
    """The place of each split that the text has, and by None of the text that is split here."""
    megabytes: float | None
    """Of its files; None for a text that is in none."""
    unread_files: LeftOut
    """What `data.path` names and cannot be read as text."""

    def refuse_empty(self) -> None:
        """Raises the error of a text of files without a document, with what is in them."""
        pieces = [piece for piece in self.pieces() if isinstance(piece, FilePiece)]
        if not pieces:
            return
        raw = (piece.raw_documents(self.data, LeftOut()) for piece in pieces)
        sizes = [len(paragraphs) for paragraphs in chain.from_iterable(raw)]
        path = f"data.path={shown(str(self.data.path))}: "
        if not sizes:
            raise UserError(f"{path}{shown(pieces[0].file.path.absolute())} is empty (0 words)")
        raise UserError(
            f"{path}{len(pieces)} files, {len(sizes)} documents and {sum(sizes)} paragraphs, none "
            f"of them {usable(self.data)}{ways_out(self.data)}{_if_wrapped(self.data)}"
        )


def find_source(data: CorpusConfig, min_documents: int) -> TextSource:
    """Returns the source that the config names; each split must have `min_documents`."""
    if data.source is CorpusSource.builtin:
        return _builtin_source(_in_format(data, Format.prose), min_documents)
    if data.source is CorpusSource.text:
        return _text_source(_in_format(data, data.format), min_documents)
    if data.path is not None:
        return _wikitext_folder(_in_format(data, Format.wikitext), data.path)
    return _hub_source(_in_format(data, data.format), min_documents)


def _in_format(data: CorpusConfig, text_format: Format) -> CorpusConfig:
    return replace(data, format=text_format, sentences=data.sentences or text_format.value)


def _builtin_source(data: CorpusConfig, min_documents: int) -> TextSource:
    """Returns the text that comes with every CPython: its documentation."""
    version = f"Python {'.'.join(map(str, sys.version_info[:3]))}"

    origin = f"pydoc_data.topics of {version}"
    about = "builtin", version, origin, data, min_documents, _FIXED_FORMAT
    return _source(*about, lambda: [ManualPiece()], {None: "the built-in text"})


def _wikitext_folder(data: CorpusConfig, folder: str) -> TextSource:
    path = Path(folder).expanduser()
    ending = "raw" if (path / f"{_WIKITEXT_FILES[0]}.raw").is_file() else "tokens"
    files = [path / f"{name}.{ending}" for name in _WIKITEXT_FILES]
    for file in files:
        if not file.is_file():
            raise UserError(
                f"data.path={folder}: there is no file {file.absolute()} "
                f"(the working directory is {Path.cwd()}); WikiText's folder holds "
                f"{', '.join(f'{name}.tokens' for name in _WIKITEXT_FILES)}; "
                "for text of your own: data=text data.path='notes/*.txt'"
            )

    unread = _FIXED_FORMAT | {"validation_fraction", "test_fraction"}
    hashes = _hashes(files, data)
    # The splits are given, so they need no number of documents.
    about = "wikitext", _content(hashes), str(path.resolve()), data, 0, unread

    def pieces() -> list[Piece]:
        texts = [TextFile(file, "text") for file in files]
        each = map(file_pieces, texts, hashes, repeat(data), SPLITS)
        return [*chain.from_iterable(each)]

    origins: dict[str | None, str] = {
        split: str(file.absolute()) for split, file in zip(SPLITS, files, strict=True)
    }
    return _source(*about, pieces, origins, files)


def _hub_source(data: CorpusConfig, min_documents: int) -> TextSource:
    commit = f"{data.hub_repository}/{data.hub_name}@{data.hub_revision}"
    tables = HubTables(data.hub_repository, data.hub_name, data.hub_revision, data.streaming)

    def pieces() -> list[Piece]:
        given = [split for split in SPLITS if split in tables()]
        if "train" not in given:
            raise UserError(
                f"{commit} has no split 'train'; it has {', '.join(tables())}: "
                "choose another data.hub_name"
            )
        # The documents of `train` are split further where the hub has no other split.
        splits = [None, *given[1:]]
        wholes = [HubPiece(tables, commit, *names, 0) for names in zip(given, splits, strict=True)]
        return [*chain.from_iterable(hub_pieces(whole, data) for whole in wholes)]

    unread = _PROSE if data.format is Format.wikitext else set[str]()
    origins = dict.fromkeys((None, *SPLITS), commit)
    return _source("hub", "", commit, data, min_documents, unread, pieces, origins)


def _text_source(data: CorpusConfig, min_documents: int) -> TextSource:
    unread_files = LeftOut()
    files = find_text_files(data, unread_files)
    data = settle_documents(data, files, min_documents, unread_files)

    hashes = _hashes([file.path for file in files], data)
    found: dict[str, TextFile] = {}
    copies = LeftOut()
    for file, sha256 in zip(files, hashes, strict=True):
        first = found.setdefault(sha256, file)
        if first is not file:
            copies.add("copies of other files", f"{shown(file.path)} of {shown(first.path)}")
    announce(copies, "Read twice")
    read_as = [f"{file.holds} {sha256}" for file, sha256 in zip(files, hashes, strict=True)]
    origin = f"{shown(str(data.path))} ({len(files)} files)"

    def pieces() -> list[Piece]:
        return [*chain.from_iterable(map(file_pieces, files, hashes, repeat(data)))]

    origins: dict[str | None, str] = {None: f"data.path={data.path}"}
    about = "files", _content(read_as), origin, data, min_documents, _HUB
    return _source(*about, pieces, origins, [file.path for file in files], unread_files)


def sentences_of(
    raw: Iterable[list[str]], data: CorpusConfig, left_out: LeftOut
) -> Iterator[Document]:
    """Splits paragraphs into sentences and keeps the paragraphs that have enough of them.

    With WikiText's splitter, as in the textbook, the number of delimiters ` . ` in the paragraph
    counts, even at its end: a single sentence with one gives no pair, but its words enter the
    vocabulary.
    """
    split = find_splitter(str(data.sentences))
    delimiters = data.min_sentences - 1 if data.sentences == Format.wikitext.value else 0
    fewest = data.min_sentences - delimiters
    paragraphs = characters = kept = kept_characters = 0
    for texts in raw:
        document = []
        for text in texts:
            found = split(text) if text.count(" . ") >= delimiters else []
            size = len(text.strip())
            paragraphs, characters = paragraphs + bool(size), characters + size
            if len(found) >= fewest:
                document.append(found)
                kept, kept_characters = kept + 1, kept_characters + size
        if document:
            yield document
    left_out.add_text(
        f"paragraphs of fewer than {data.min_sentences} sentences",
        f"pairs=document, segment and none keep them (data.min_sentences=1){_if_wrapped(data)}",
        *(paragraphs - kept, paragraphs),
        *(characters - kept_characters, characters),
    )


def _if_wrapped(data: CorpusConfig) -> str:
    prose = data.source is CorpusSource.text and data.format is Format.prose
    if data.hard_wrapped or not prose:
        return ""
    return "; for text with hard line breaks: data.hard_wrapped=true"


def _hashes(files: Sequence[File], data: CorpusConfig) -> list[str]:
    try:
        with working("hashing the text"):
            return hash_text_files(files, cache_folder(data))
    except OSError as error:
        name = shown(error.filename or "a file")
        raise UserError(f"data.path: {name} cannot be read: {error.strerror}") from error


def _content(files: Sequence[str]) -> str:
    """Returns what identifies the content of text files; their paths do not."""
    return f"{len(files)} files, SHA-256 {digest({'files': files})}"


def _source(
    kind: str,
    content: str,
    origin: str,
    data: CorpusConfig,
    min_documents: int,
    unread: set[str],
    pieces: Callable[[], list[Piece]],
    origins: dict[str | None, str],
    files: Sequence[File] = (),
    unread_files: LeftOut | None = None,
) -> TextSource:
    """Returns the source; `content` identifies its text before any option applies to it.

    All options of `data` that affect the text are in the fingerprint, except for the `unread` ones.
    """
    values = to_plain(asdict(data))
    skipped = {*named(CorpusConfig, PLACE | CHOICE), *unread}
    used = [name for name in named(CorpusConfig, TEXT) if name not in skipped]
    fingerprint = {
        "kind": kind,
        "content": content,
        "options": {f"data.{name}": values[name] for name in used},
        "splitter_version": splitter_version(str(data.sentences)),
        "segmenter_version": segmenter_version(data.words),
        "min_documents": min_documents,
    }
    megabytes = sum(map(size_of, files)) / MEGABYTE if files else None
    about = data.shown_name, origin, fingerprint, data, min_documents, pieces, origins, megabytes
    return TextSource(*about, unread_files or LeftOut())
