"""The folder that is kept between runs, and the hashes of the text files that were read for it."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from bert_lightning.config import CorpusConfig

ALWAYS_HASHED = 64 * 2**20
"""Bytes of files up to which they are hashed each time; more are hashed where they may differ."""
_HASHES = "text_hashes.json"
_SETTLED_NS = 3 * 10**9
"""Longer than any file system's clock tick: two changes within one leave the same times."""


def cache_folder(data: CorpusConfig) -> Path:
    """The folder that holds prepared corpora."""
    chosen = data.cache_dir or user_cache_dir("bert-lightning")
    return Path(chosen).expanduser().absolute()


def store_folder(data: CorpusConfig, name: str, key: str) -> Path:
    """Where the prepared corpus of this name and key lies, if it is there."""
    return cache_folder(data) / f"{name}-{key[:16]}"


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_text_files(files: Sequence[Path], data: CorpusConfig) -> list[str]:
    """The SHA-256 of each file, from memory where large files are as they were.

    A file is as it was if its path, size, inode and times of modification and of status change are.
    The last cannot be set by hand, so an edit that keeps the size and puts the modification time
    back is seen too. A file that changed within the last three seconds is not remembered.
    """
    if sum(file.stat().st_size for file in files) <= ALWAYS_HASHED:
        return [hash_file(file) for file in files]
    memory = cache_folder(data) / _HASHES
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
    """Replaces the memory whole; of two processes that do so at once, one is forgotten."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    aside = memory.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(known, indent=1), encoding="utf-8")
    aside.replace(memory)
