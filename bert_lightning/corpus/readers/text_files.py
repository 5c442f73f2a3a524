"""Local files → raw documents: lists of paragraphs, not yet split into sentences.

Files are read as streams, line by line, so their size does not matter. A text without blank lines
or line ends is divided where it gets longer than any book.
"""

import gzip
import logging
import zlib
from collections.abc import Iterable, Iterator
from glob import glob
from io import BufferedIOBase
from pathlib import Path

from bert_lightning.config import CorpusConfig, Format
from bert_lightning.corpus.readers.tables import TABLES, file_rows
from bert_lightning.errors import UserError

log = logging.getLogger(__name__)

LONGEST_DOCUMENT = 4_000_000
"""Characters after which a document ends and the next begins: more than "War and Peace" has."""
LONGEST_LINE = 4_000_000
"""Bytes after which a line ends, at a space, and the next begins."""


def find_text_files(data: CorpusConfig) -> list[Path]:
    """Returns the files that `data.path` names: one, all in a folder, or those of a pattern."""
    if data.path is None:
        raise UserError(
            "data=text needs the text: data.path='notes/*.txt' names a file, a folder or a pattern"
        )
    path = Path(data.path).expanduser()
    if path.is_dir():
        found = [file for file in path.rglob("*") if kind_of(file) in {".txt", *TABLES}]
    elif path.is_file():
        found = [path]
    else:
        names = glob(str(path), recursive=True)  # noqa: PTH207 -- not absolute in Path.glob
        found = [Path(name) for name in names if Path(name).is_file()]
    if not found:
        raise UserError(
            f"data.path={data.path}: nothing at {path.absolute()} "
            f"(the working directory is {Path.cwd()}); give a file, a folder of .txt files, "
            "or a pattern in quotes"
        )
    return sorted(found)


def kind_of(file: Path) -> str:
    """Returns a file's extension before compression: `.txt` for `notes.txt.gz`."""
    return Path(file.stem).suffix if file.suffix == ".gz" else file.suffix


def raw_documents(file: Path, data: CorpusConfig) -> Iterator[list[str]]:
    """Yields documents as lists of paragraphs; in a table each row is a document."""
    if kind_of(file) in TABLES:
        yield from rows_as_documents(file_rows(file, kind_of(file), data.text_column))
    elif data.format is Format.wikitext:
        yield from split_at_headings(_some_text(file, data))
    else:
        stripped = (line.strip() for line in _some_text(file, data))
        for block in _between_gaps(line or None for line in stripped):
            yield [" ".join(block)] if data.hard_wrapped else block


def rows_as_documents(rows: Iterable[str]) -> Iterator[list[str]]:
    """Yields each row of a table as a document, and each of its lines as a paragraph."""
    for text in rows:
        yield [line for line in text.split("\n") if line.strip()]


def split_at_headings(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields each article's paragraphs: ` = Title = ` starts one, other headings are omitted."""

    def without_headings() -> Iterator[str | None]:
        for line in lines:
            text = line.strip()
            if not (text.startswith("= ") and text.endswith(" =")):
                yield line
            elif not text.startswith("= = "):
                yield None

    return _between_gaps(without_headings())


def read_lines(file: Path) -> Iterator[str]:
    """Yields a file's lines without their ends; one above `LONGEST_LINE` bytes is divided."""
    offset = 0
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        try:
            for line in _bounded_lines(stream):
                text = _decode(line, offset, file)
                offset += len(line)
                yield text.removesuffix("\n").removesuffix("\r")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(
                f"{file.absolute()} cannot be decompressed: {error}; compress or download it again"
            ) from error


def _decode(line: bytes, offset: int, file: Path) -> str:
    try:
        return line.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from the end of the mark that it removes
        start = error.start + 3 * (offset == 0 and line.startswith(b"\xef\xbb\xbf"))
        raise UserError(
            f"{file.absolute()} is not UTF-8: byte {offset + start} is 0x{line[start]:02x}; "
            f"convert it, for example: iconv -f latin1 -t utf-8 {file.name}"
        ) from error


def _some_text(file: Path, data: CorpusConfig) -> Iterator[str]:
    empty = True
    for line in read_lines(file):
        empty = empty and not line.strip()
        yield line
    if empty:
        raise UserError(f"data.path={data.path}: {file.absolute()} is empty (0 words)")


def _bounded_lines(stream: BufferedIOBase) -> Iterator[bytes]:
    """Yields the lines of a file; together they are its bytes."""
    rest = b""
    while line := rest + stream.readline(LONGEST_LINE - len(rest)):
        rest = b""
        if len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
            end = line.rfind(b" ") + 1 or _last_character(line) or len(line)
            line, rest = line[:end], line[end:]
        yield line


def _last_character(line: bytes) -> int:
    """Returns the start of the last UTF-8 character; all its other bytes are 10xxxxxx."""
    return next((at for at in range(len(line) - 1, 0, -1) if line[at] & 0xC0 != 0x80), 0)


def _between_gaps(lines: Iterable[str | None]) -> Iterator[list[str]]:
    """Yields the lines between the `None`s as documents; each ends at `LONGEST_DOCUMENT`."""
    document: list[str] = []
    characters, warned = 0, False
    for line in lines:
        if line is not None:
            document.append(line)
            characters += len(line)
        if document and (line is None or characters >= LONGEST_DOCUMENT):
            if line is not None and not warned:
                warned = True
                log.warning(
                    "A document of more than %s characters is divided into several: blank lines "
                    "(in WikiText headings) separate documents.",
                    f"{LONGEST_DOCUMENT:,}",
                )
            yield document
            document, characters = [], 0
    if document:
        yield document
