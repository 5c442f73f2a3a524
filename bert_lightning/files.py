"""Atomic writes: a file shows with all of its new content, or as it was before."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
"""A folder that cannot be synced: shares of Windows, some FUSE, or one that may not be read."""
_PATIENCE_SECONDS = 2.0
"""In which indexers and scanners of viruses close a file."""
TEMPORARY = ".*.tmp"
"""Matches what a write leaves behind that was killed."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder, which takes the name `path` at the end.

    Whatever goes wrong within, the temporary file is removed and `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _rename(temporary, path)
        if os.name != "nt":  # Windows cannot open folders, and syncs a rename by itself
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _rename(temporary: Path, path: Path) -> None:
    """Renames a file, for a while again and again where Windows says that another program has it.

    Elsewhere the first refusal counts.
    """
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if os.name != "nt" or time.monotonic() > give_up:
                raise
        time.sleep(0.02)


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut, where the file system offers that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def write_text(path: Path, text: str) -> None:
    """Writes a small text file atomically."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        sync(file)


def sync(file: IO[Any]) -> None:
    """Waits until the content of an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())
