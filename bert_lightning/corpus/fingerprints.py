"""The SHA-256 of text files; those of large files are remembered until the files change."""

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from math import inf
from os import fsdecode
from pathlib import Path
from typing import Any

from bert_lightning.corpus.readers.storage.opening import File, size_of
from bert_lightning.files import write_text

ALWAYS_HASHED = 64 * 2**20
"""Total bytes of a text, or of a prepared corpus, up to which all files are hashed each time."""
_SETTLED_NS = 3 * 10**9
"""Longer than the clock tick of any file system: two changes within one tick have equal times."""


_CONTENT_TAGS = ("etag", "md5", "md5hash", "content_md5", "crc32c", "checksum", "blob_id")
"""What storages say of a file that another content changes, in small letters."""
_TIMES = ("mtime", "lastmodified", "last_modified", "updated", "modified")


def hash_file(file: File) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_text_files(files: Sequence[File], cache: Path) -> list[str]:
    """Returns the SHA-256 of each file, from the cache folder where a large file is unchanged.

    A file is unchanged if its path, size, inode, modification time and status-change time are; the
    last cannot be set by hand. A remote file is unchanged if its path, size, hashes and time of
    modification are, as its storage tells them. The hash of a file that changed within the last
    three seconds, or of which no hash and no time is told, is not remembered.
    """
    if sum(map(size_of, files)) <= ALWAYS_HASHED:
        return [hash_file(file) for file in files]
    memory = cache / "text_hashes.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):  # a memory that is missing or corrupted
        known = dict(json.loads(memory.read_text(encoding="utf-8")))
    before = dict(known)
    hashes = []
    for file in files:
        path, state = fsdecode(file.absolute()), _state(file)
        record = known.get(path)
        if not isinstance(record, dict) or record["state"] != state:
            settled = time.time_ns() - _SETTLED_NS
            record = {"state": state, "sha256": hash_file(file)}
            if _state(file) == state and _changed_at(state) < settled:
                known[path] = record
        hashes.append(str(record["sha256"]))
    if known != before:
        with suppress(OSError):  # a cache that cannot be written remembers nothing
            cache.mkdir(parents=True, exist_ok=True)
            write_text(memory, json.dumps(known, indent=1))
    return hashes


def _state(file: File) -> list[Any]:
    """Returns the size, times of change in nanoseconds, and what else tells a change."""
    if isinstance(file, Path):
        state = file.stat()
        return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
    told = {str(name).lower(): value for name, value in file.state().items()}
    tags = [f"{name} {told[name]}" for name in _CONTENT_TAGS if told.get(name)]
    times = [_nanoseconds(told[name]) for name in _TIMES if told.get(name)]
    return [file.size, tags, *times]


def _changed_at(state: list[Any]) -> float:
    """Returns when a file changed, at the latest; infinity where nothing tells a change."""
    told = state[1:]
    if isinstance(told[0], list):
        return 0 if told[0] else max(told[1:], default=inf)
    return max(told[1:])


def _nanoseconds(moment: Any) -> float:
    """Returns a time as storages tell it, in nanoseconds; infinity if it is not understood."""
    if isinstance(moment, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        moment = moment.timestamp()
    return float(moment) * 1e9 if isinstance(moment, int | float) else inf
