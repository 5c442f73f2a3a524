"""The SHA-256 of text files; those of large files are remembered until the files change."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ALWAYS_HASHED = 64 * 2**20
"""Total bytes of files up to which they are hashed each time."""
_HASHES = "text_hashes.json"
_SETTLED_NS = 3 * 10**9
"""Longer than the clock tick of any file system: two changes within one tick have equal times."""


def hash_file(file: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_text_files(files: Sequence[Path], cache: Path) -> list[str]:
    """Returns the SHA-256 of each file, from the cache folder where a large file is unchanged.

    A file is unchanged if its path, size, inode, modification time and status-change time are. The
    last cannot be set by hand, so an edit that keeps the size and restores the modification time
    is noticed too. The hash of a file that changed within the last three seconds is not remembered.
    """
    if sum(file.stat().st_size for file in files) <= ALWAYS_HASHED:
        return [hash_file(file) for file in files]
    memory = cache / _HASHES
    known = _read(memory)
    before = dict(known)
    hashes = []
    for file in files:
        path, state = str(file.absolute()), _state(file)
        record = known.get(path)
        if not isinstance(record, dict) or record["state"] != state:
            settled = time.time_ns() - _SETTLED_NS
            record = {"state": state, "sha256": hash_file(file)}
            if _state(file) == state and max(state["mtime_ns"], state["ctime_ns"]) < settled:
                known[path] = record
        hashes.append(str(record["sha256"]))
    if known != before:
        with suppress(OSError):  # a cache that cannot be written remembers nothing
            _write(memory, known)
    return hashes


def _state(file: Path) -> dict[str, int]:
    state = file.stat()
    return {
        "bytes": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "ctime_ns": state.st_ctime_ns,
        "inode": state.st_ino,
    }


def _read(memory: Path) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(memory: Path, known: dict[str, Any]) -> None:
    """Replaces the file atomically; if two processes do so at once, the last one wins."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    temporary = memory.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
    temporary.replace(memory)
