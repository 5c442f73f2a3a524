"""The lines of a file: UTF-8 text, compressed or not. A file that is something else is refused."""

import codecs
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import BinaryIO, NoReturn, TextIO

from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.storage.compression import COMPRESSIONS, ending_of_archive
from bert_lightning.corpus.readers.storage.meter import MEGABYTE as MEGABYTE
from bert_lightning.corpus.readers.storage.meter import METER as METER
from bert_lightning.corpus.readers.storage.opening import BEGINNING, File, local_name, opened
from bert_lightning.errors import UserError

LONGEST_LINE = 4_000_000
"""Characters after which a line ends, at a space, and the next begins."""

_CONVERTED = {
    b"\xff\xfe\0\0": ("UTF-32", "iconv -f utf-32 -t utf-8 {file} > {new}"),
    b"\0\0\xfe\xff": ("UTF-32", "iconv -f utf-32 -t utf-8 {file} > {new}"),
    b"\xff\xfe": ("UTF-16", "iconv -f utf-16 -t utf-8 {file} > {new}"),
    b"\xfe\xff": ("UTF-16", "iconv -f utf-16 -t utf-8 {file} > {new}"),
    b"PK\x03\x04": ("a zip archive, as documents of offices are", "unzip {file}"),
    b"7z\xbc\xaf": ("a 7z archive", "7z x {file}"),
    b"%PDF": ("a PDF file", "pdftotext {file} {new}"),
    b"PAR1": ("a parquet file", "mv {file} {file}.parquet"),
} | {kind.mark: (kind.what, f"mv {{file}} {{file}}{name}") for name, kind in COMPRESSIONS.items()}
"""What is no UTF-8, by its first bytes, and the command that makes text of it."""
_TAR = slice(257, 262), b"ustar"
"""The bytes that say that a file is a tar archive, and where."""

_COMMON = frozenset(" \n\r,.\u3001\u3002\uff0c")
"""Characters that most texts have: a wrong encoding of two or four bytes finds none of them."""


def read_lines(file: File, part: tuple[int, int] | None = None) -> Iterator[str]:
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
    file: File, newline: str | None = None, part: tuple[int, int] | None = None
) -> Iterator[TextIO]:
    """Opens a file for reading; what goes wrong while it is open is told as the user's mistake.

    `part` is a range of its bytes, which begins and ends with a line.
    """
    encoding = "utf-8" if part is not None and part[0] else "utf-8-sig"
    with (
        opened(file, part) as stream,
        TextIOWrapper(stream, encoding=encoding, newline=newline) as text,
    ):
        try:
            yield text
        except UnicodeDecodeError:
            refuse(file)


def without_nul(lines: Iterable[str], file: File) -> Iterator[str]:
    """Yields lines, and refuses the file at the first NUL."""
    for line in lines:
        if "\0" in line:
            refuse(file)
        yield line


def refuse(file: File) -> NoReturn:
    """Raises the error that says why a file is no text, and how to convert it.

    Raises:
        UserError: always.
    """
    with opened(file) as stream:
        beginning = stream.read(BEGINNING)
    with opened(file) as stream:
        offset, byte = _first_fault(stream)
    known = next((_CONVERTED[mark] for mark in _CONVERTED if beginning.startswith(mark)), None)
    what, command = known or _guess(beginning, byte)
    ending, path = ending_of_archive(file.name), local_name(file)
    plain = path.with_suffix("") if ending else path
    quoted, new = (
        shlex.quote(str(path))
        for path in (plain, plain.with_name(f"{plain.stem}.utf8{plain.suffix}"))
    )
    first = f"{COMPRESSIONS[ending].unpack} {shlex.quote(str(path))} && " if ending else ""
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
    place, mark = _TAR
    if beginning[place] == mark:
        return "a tar archive", "tar -xf {file}"
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
