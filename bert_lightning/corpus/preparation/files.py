"""The files of a text as pieces: large ones in parts that give the very same documents.

A part of plain text or of JSON lines is a range of bytes that begins with a line before which a
document has ended anyway; a part of a .parquet file is a range of its row groups. What is
compressed, .csv and all else stays whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from os import fspath
from typing import BinaryIO

from bert_lightning.config import CorpusConfig, Format
from bert_lightning.corpus.preparation import items
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.layout.hard_wrapping import unwrapping
from bert_lightning.corpus.readers.left_out import LeftOut, shown
from bert_lightning.corpus.readers.lines import read_lines
from bert_lightning.corpus.readers.storage.compression import ending_of_archive
from bert_lightning.corpus.readers.storage.opening import size_of
from bert_lightning.corpus.readers.table_files import row_group_bytes
from bert_lightning.corpus.readers.text_files import begins_part, part_documents, raw_documents
from bert_lightning.errors import UserError

_LONGEST = 4096
"""Bytes of a line that may begin a part of plain text, with its end."""


@dataclass(frozen=True)
class FilePiece:
    """A file of text, or a part of it."""

    file: TextFile
    sha256: str
    bytes: int
    split: str | None = None

    @property
    def identity(self) -> str:
        path, part = fspath(self.file.path), self.file.part
        return f"{self.split} {self.file.holds} {self.sha256} {path} {part}"

    @property
    def whole(self) -> "FilePiece | None":
        if self.file.part is None:
            return None
        file = self.file._replace(part=None)
        return replace(self, file=file, bytes=size_of(file.path))

    def raw_documents(self, data: CorpusConfig, left_out: LeftOut) -> Iterator[list[str]]:
        part = self.file.part
        first = part is None or part[0] == 0
        if part is not None and self.file.holds == "text" and data.format is Format.prose:
            # Hard line breaks are recognized by the beginning of the file, whatever the part.
            said = left_out if first else LeftOut()
            beginning = read_lines(self.file.path)
            wrapped, _ = unwrapping(beginning, shown(self.file.path), data, said)
            data = replace(data, hard_wrapped=wrapped)
        read = raw_documents if first else part_documents
        return read(self.file, data, left_out)


def file_pieces(
    file: TextFile, sha256: str, data: CorpusConfig, split: str | None = None
) -> list[FilePiece]:
    """Returns the file in parts of about `ITEM_BYTES`, or as a whole."""
    size = size_of(file.path)
    if size > items.ITEM_BYTES:
        cuts = _cuts(file, data, size)
        first = file._replace(part=cuts[0]) if cuts else file
        # Of a file without a word, and of one that is no text, all must be seen at once.
        if len(cuts) > 1 and _has_document(first, data):
            parts = [file._replace(part=cut) for cut in cuts]
            each = size // len(parts)
            return [FilePiece(part, sha256, each, split) for part in parts]
    return [FilePiece(file, sha256, size, split)]


def _has_document(file: TextFile, data: CorpusConfig) -> bool:
    try:
        return next(part_documents(file, data, LeftOut()), None) is not None
    except UserError:  # the reader of the whole file says what is wrong
        return False


def _cuts(file: TextFile, data: CorpusConfig, size: int) -> list[tuple[int, int]]:
    """Returns the parts, ranges of bytes or of row groups; one or none if it cannot be cut."""
    if ending_of_archive(file.path.name):
        return []
    if file.holds == "parquet":
        # In WikiText's format an article has many rows.
        return _even(row_group_bytes(file)) if data.format is Format.prose else []
    starts = [0]
    with file.path.open("rb") as stream:
        for target in range(items.ITEM_BYTES, size, items.ITEM_BYTES):
            if target > starts[-1] and (cut := next_cut(stream, target, file, data)) is not None:
                starts.append(cut)
    return list(pairwise([*starts, size]))


def _even(sizes: list[int]) -> list[tuple[int, int]]:
    """Returns ranges of consecutive things of these sizes, each of `ITEM_BYTES` or more."""
    starts, size = [0], 0
    for number, one in enumerate(sizes):
        if size >= items.ITEM_BYTES:
            starts.append(number)
            size = 0
        size += one
    return list(pairwise([*starts, len(sizes)]))


def next_cut(stream: BinaryIO, offset: int, file: TextFile, data: CorpusConfig) -> int | None:
    """Returns the first place from `offset` on where a part can begin, None if there is none."""
    stream.seek(offset - 1)
    while line := stream.readline(_LONGEST):  # the first is a rest
        if line.endswith(b"\n"):
            start = stream.tell()
            line = stream.readline(_LONGEST)
            seen = line.endswith(b"\n") or file.holds == "json"
            if seen and begins_part(line.decode("utf-8", "replace"), file, data):
                return start
            stream.seek(start)
    return None
