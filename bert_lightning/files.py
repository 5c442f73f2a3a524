"""Atomic writes: a file shows with all of its new content, or as it was before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

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
        temporary.replace(path)
        if os.name != "nt":  # Windows cannot open folders, and syncs a rename by itself
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # so that the rename survives a power cut
            finally:
                os.close(descriptor)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a small text file atomically."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        sync(file)


def sync(file: IO[Any]) -> None:
    """Waits until the content of an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())
