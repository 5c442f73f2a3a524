"""The SHA-256 of text files; those of large files are remembered until the files change."""

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bert_lightning.files import write_text

ALWAYS_HASHED = 64 * 2**20
"""Total bytes of a text, or of a prepared corpus, up to which all files are hashed each time."""
_SETTLED_NS = 3 * 10**9
"""Longer than the clock tick of any file system: two changes within one tick have equal times."""


def hash_file(file: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_text_files(files: Sequence[Path], cache: Path) -> list[str]:
    """Returns the SHA-256 of each file, from the cache folder where a large file is unchanged.

    A file is unchanged if its path, size, inode, modification time and status-change time are; the
    last cannot be set by hand. The hash of a file that changed within the last three seconds is not
    remembered.
    """
    if sum(file.stat().st_size for file in files) <= ALWAYS_HASHED:
        return [hash_file(file) for file in files]
    memory = cache / "text_hashes.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):  # a memory that is missing or corrupted
        known = dict(json.loads(memory.read_text(encoding="utf-8")))
    before = dict(known)
    hashes = []
    for file in files:
        path, state = str(file.absolute()), _state(file)
        record = known.get(path)
        if not isinstance(record, dict) or record["state"] != state:
            settled = time.time_ns() - _SETTLED_NS
            record = {"state": state, "sha256": hash_file(file)}
            if _state(file) == state and max(state[2:]) < settled:
                known[path] = record
        hashes.append(str(record["sha256"]))
    if known != before:
        with suppress(OSError):  # a cache that cannot be written remembers nothing
            cache.mkdir(parents=True, exist_ok=True)
            write_text(memory, json.dumps(known, indent=1))
    return hashes


def _state(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
