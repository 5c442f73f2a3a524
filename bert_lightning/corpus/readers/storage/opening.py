"""The one way to open a file of a text, on a disk or in object storage, compressed or not."""

import codecs
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.storage.compression import (
    COMPRESSIONS,
    FAULTS,
    ending_of_archive,
)
from bert_lightning.corpus.readers.storage.meter import METER
from bert_lightning.corpus.readers.storage.remote import RemoteFile
from bert_lightning.errors import UserError

File = Path | RemoteFile

BEGINNING = 4096
"""Bytes that say what a file is."""
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
"""Bytes that are in no text; the escapes of terminals are in some."""


@contextmanager
def opened(file: File, part: tuple[int, int] | None = None) -> Iterator[BinaryIO]:
    """Opens the bytes of a file, decompressed; a stream that can seek unless it is compressed.

    `part` is a range of the bytes of a file that is not compressed. What goes wrong while it is
    open is told as the user's mistake.
    """
    name, size = shown(file.absolute()), 0
    archive = COMPRESSIONS.get(ending_of_archive(file.name))
    try:
        size = size_of(file)
        start, stop = part or (0, size)
        with file.open("rb") as raw, METER.reading(stop - start, lambda: raw.raw.tell() - start):
            if part is not None:
                yield io.BufferedReader(_Part(raw, start, stop))
            elif archive is None or size == 0:
                yield raw
            else:
                with archive.stream(raw) as stream:
                    yield stream
    except FAULTS as error:
        raise _why_not_decompressed(file, error) from error
    except OSError as error:
        if archive is not None and error.errno is None:
            raise _why_not_decompressed(file, error) from error
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error


class _Part(io.RawIOBase):
    """A range of an open file's bytes."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file, self._left = file, stop - start
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def size_of(file: File) -> int:
    """Returns the bytes of a file as it is stored."""
    return file.size if isinstance(file, RemoteFile) else file.stat().st_size


def is_utf8(beginning: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8 text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(beginning) is None


def local_name(file: File) -> Path:
    """Returns the path for commands in messages: of a remote file, that of a copy."""
    return file if isinstance(file, Path) else Path(file.name)


def _why_not_decompressed(file: File, error: Exception) -> UserError:
    """Returns the error of an archive that is truncated, corrupted, or not what its name says."""
    ending, name, path = ending_of_archive(file.name), shown(file.absolute()), local_name(file)
    with file.open("rb") as raw:
        beginning = raw.read(BEGINNING)
    marked = (other for other, kind in COMPRESSIONS.items() if beginning.startswith(kind.mark))
    found = next(marked, "")
    plain = str(path)[: -len(ending)]
    if found != ending and (found or is_utf8(beginning)):
        what = COMPRESSIONS[found].what if found else "not compressed"
        command = f"mv {shlex.quote(str(path))} {shlex.quote(plain + found)}"
        return UserError(
            f"{name} is {what}, and its name ends with {ending}: give it the right name, for "
            f"example: {shown(command)}"
        )
    return UserError(
        f"{name} cannot be decompressed: {str(error).rstrip('.')}; compress or download it again"
    )
