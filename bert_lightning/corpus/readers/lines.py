"""The lines of a file: UTF-8 text, compressed or not. A file that is something else is refused."""

import codecs
import gzip
import os
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO, cast

from bert_lightning.corpus.readers.kinds import is_compressed
from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.errors import UserError

LONGEST_LINE = 4_000_000
"""Characters after which a line ends, at a space, and the next begins."""

_CONVERTED = {
    b"\xff\xfe\0\0": ("UTF-32", "iconv -f utf-32 -t utf-8 {file} > {new}"),
    b"\0\0\xfe\xff": ("UTF-32", "iconv -f utf-32 -t utf-8 {file} > {new}"),
    b"\xff\xfe": ("UTF-16", "iconv -f utf-16 -t utf-8 {file} > {new}"),
    b"\xfe\xff": ("UTF-16", "iconv -f utf-16 -t utf-8 {file} > {new}"),
    b"\x1f\x8b": ("a gzip file", "mv {file} {file}.gz"),
    b"PK\x03\x04": ("a zip archive, as documents of offices are", "unzip {file}"),
    b"\xfd7zXZ\0": ("an xz file", "xz -dk {file}"),
    b"BZh": ("a bzip2 file", "bzip2 -dk {file}"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "zstd -d {file}"),
    b"7z\xbc\xaf": ("a 7z archive", "7z x {file}"),
    b"%PDF": ("a PDF file", "pdftotext {file} {new}"),
    b"PAR1": ("a parquet file", "mv {file} {file}.parquet"),
}
"""What is no UTF-8, by its first bytes, and the command that makes text of it."""

_COMMON = frozenset(" \n\r,.\u3001\u3002\uff0c")
"""Characters that most texts have: a wrong encoding of two or four bytes finds none of them."""


class Meter:
    """Tells how far the files of a text are read, without touching what reads them."""

    def __init__(self) -> None:
        self._closed = 0
        self._open: list[tuple[int, int]] = []

    @contextmanager
    def reading(self, descriptor: int, start: int, stop: int) -> Iterator[None]:
        """A context in which a range of a file is read; afterwards all of it counts as read."""
        self._open.append((descriptor, start))
        try:
            yield
        finally:
            self._open.remove((descriptor, start))
            self._closed += stop - start

    def position(self) -> int:
        """Returns the bytes that were read, compressed ones as they are on the disk."""
        read = self._closed
        for descriptor, start in [*self._open]:
            with suppress(OSError):  # it was closed meanwhile
                read += os.lseek(descriptor, 0, os.SEEK_CUR) - start
        return read

    def megabytes(self) -> Callable[[], float]:
        """Returns what tells the megabytes that are read from now on."""
        start = self.position()
        return lambda: (self.position() - start) / MEGABYTE


METER = Meter()
MEGABYTE = 1e6


def read_lines(file: Path, part: tuple[int, int] | None = None) -> Iterator[str]:
    r"""Yields a file's lines without their ends, which are `\n`, `\r\n` or `\r`.

    A line of more than `LONGEST_LINE` characters is divided. `part` is a range of its bytes.
    """
    rest = ""
    with open_text(file, part=part) as stream:
        while line := rest + stream.readline(LONGEST_LINE - len(rest)):
            rest = ""
            if len(line) >= LONGEST_LINE and not line.endswith("\n"):
                end = (
                    line.rfind(" ", 0, -1) + 1 or len(line) - 1
                )  # something follows, also at the end
                line, rest = line[:end], line[end:]
            if "\0" in line:
                refuse(file)
            yield line.removesuffix("\n")


@contextmanager
def open_text(
    file: Path, newline: str | None = None, part: tuple[int, int] | None = None
) -> Iterator[TextIO]:
    """Opens a file for reading; what goes wrong while it is open is told as the user's mistake.

    `part` is a range of its bytes, which begins and ends with a line.
    """
    try:
        with _opened(file, newline, part) as stream:
            try:
                with METER.reading(stream.fileno(), *(part or (0, file.stat().st_size))):
                    yield stream
            except UnicodeDecodeError:
                refuse(file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{shown(file.absolute())} cannot be decompressed: {error}; compress or download it "
            "again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{shown(file.absolute())} cannot be read: {error.strerror or error}"
        ) from error


def _opened(file: Path, newline: str | None, part: tuple[int, int] | None) -> TextIO:
    if part is not None:
        encoding = "utf-8" if part[0] else "utf-8-sig"
        return TextIOWrapper(BufferedReader(FilePart(file, *part)), encoding, newline=newline)
    opened = gzip.open if is_compressed(file) else open
    return cast(TextIO, opened(file, "rt", encoding="utf-8-sig", newline=newline))


class FilePart(FileIO):
    """A range of a file's bytes."""

    def __init__(self, file: Path, start: int, stop: int) -> None:
        super().__init__(file)
        self._left = stop - start
        self.seek(start)

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer) as view:
            count = super().readinto(view[: self._left])
        self._left -= count
        return count


def refuse(file: Path) -> NoReturn:
    """Raises the error that says why a file is no text, and how to convert it.

    Raises:
        UserError: always.
    """
    with gzip.open(file) if is_compressed(file) else file.open("rb") as opened:
        stream = cast(BinaryIO, opened)
        beginning = stream.read(4096)
        stream.seek(0)
        offset, byte = _first_fault(stream)
    known = next((_CONVERTED[mark] for mark in _CONVERTED if beginning.startswith(mark)), None)
    what, command = known or _guess(beginning, byte)
    plain = file.with_suffix("") if is_compressed(file) else file
    quoted, new = (
        shlex.quote(str(path))
        for path in (plain, plain.with_name(f"{plain.stem}.utf8{plain.suffix}"))
    )
    first = f"gunzip {shlex.quote(str(file))} && " * is_compressed(file)
    fault = "is NUL, which is no text" if byte == 0 else f"is 0x{byte:02x}"
    raise UserError(
        f"{shown(file.absolute())} is not UTF-8: byte {offset} {fault}; it is {what}: "
        f"convert it, for example: {shown(first + command.format(file=quoted, new=new))}"
    ) from None


def _first_fault(stream: BinaryIO) -> tuple[int, int]:
    """Returns the offset and the value of the first byte that is NUL or no UTF-8."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    while True:
        chunk = stream.read(2**16)
        waiting = len(decoder.getstate()[0])
        nul = chunk.find(0)
        try:
            decoder.decode(chunk if nul < 0 else chunk[:nul], final=not chunk)
        except UnicodeDecodeError as error:
            return offset - waiting + error.start, error.object[error.start]
        if nul >= 0 or not chunk:
            return offset + nul, 0
        offset += len(chunk)


def _guess(beginning: bytes, byte: int) -> tuple[str, str]:
    """Returns what a file without a mark seems to be, and the command that converts it."""
    for encoding in ("utf-32le", "utf-32be", "utf-16le", "utf-16be"):
        text = beginning.decode(encoding, "replace")
        common = sum(character in _COMMON for character in text)
        if common > len(text) / 100 and text.count("\ufffd") < len(text) / 20:
            command = f"iconv -f {encoding} -t utf-8 {{file}} > {{new}}"
            return f"{encoding[:6].upper()} without a byte order mark, it seems", command
    if byte == 0:
        return "a binary file, or text with stray NULs", "tr -d '\\000' < {file} > {new}"
    return (
        "another encoding, of Western Europe perhaps",
        "iconv -f windows-1252 -t utf-8 {file} > {new}",
    )
