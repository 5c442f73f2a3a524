"""The local cache of fetched files: bounded, verified, and used by all processes of a machine."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bert_lightning.corpus.fingerprints import hash_file
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.shards.table import FileRecord
from bert_lightning.errors import UserError, writing
from bert_lightning.files import write_text

_TRIES = 2
"""How often a file is fetched that arrives corrupted, or not at all."""


class ShardCache:
    """Files of a sharded corpus on this machine, named by their SHA-256.

    Before a file is fetched, those that were opened least recently are removed, until all have
    room in `limit` bytes. One process fetches at a time. It can be pickled.
    """

    def __init__(self, remote: RemoteFolder, folder: Path, limit: float) -> None:
        self.remote = remote
        self.folder = folder
        self.limit = limit

    def array(self, file: FileRecord, dtype: np.dtype[Any]) -> np.ndarray:
        """Maps a file, which is fetched if it is not here.

        Raises:
            UserError: it cannot be fetched, arrives corrupted, or cannot be stored.
        """
        with suppress(FileNotFoundError):
            return self._mapped(file, dtype)
        with self._locked():
            self._require(file)
            return self._mapped(file, dtype)

    def fetch(self, file: FileRecord) -> None:
        """Makes sure that a file is here, as long as no other one needs its room."""
        if not self._path(file).is_file():
            with self._locked():
                self._require(file)

    def remembered(self, name: str, compute: Callable[[], Any]) -> Any:
        """Returns plain values that one process computes, and keeps in a small file."""
        path = self.folder / f"{name}.json"
        with self._locked("remembered.lock"):
            with suppress(OSError, ValueError):
                return json.loads(path.read_text(encoding="utf-8"))
            values = compute()
            with self._writing():
                write_text(path, json.dumps(values))
            return values

    def _path(self, file: FileRecord) -> Path:
        return self.folder / f"{file.sha256}.bin"

    def _mapped(self, file: FileRecord, dtype: np.dtype[Any]) -> np.ndarray:
        path = self._path(file)
        array = np.memmap(path, dtype, mode="r").view(np.ndarray)  # faster to index
        with suppress(OSError):  # another process has removed it: it stays readable
            os.utime(path)
        return array

    def _require(self, file: FileRecord) -> None:
        """Fetches a file unless another process has; this one holds the lock."""
        path = self._path(file)
        if path.is_file():
            return
        arriving = path.with_suffix(".tmp")
        for attempt in range(_TRIES):
            with self._writing():
                self._make_room(file.bytes)
            try:
                self.remote.fetch(file.name, arriving)
                if hash_file(arriving) == file.sha256:
                    break
                reason = "it is not what was written (SHA-256)"
            except OSError as error:
                reason = str(error)
            arriving.unlink(missing_ok=True)
            if attempt == _TRIES - 1:
                raise UserError(
                    f"the shard file {file.name} of {self.remote.url} cannot be used: {reason}, "
                    f"also the second time; copy or write it again, and resume= continues a run"
                )
        with self._writing():
            arriving.replace(path)

    def _make_room(self, size: int) -> None:
        for leftover in self.folder.glob("*.tmp"):  # of a process that was killed
            leftover.unlink()
        found = {path: path.stat() for path in self.folder.glob("*.bin")}
        used = sum(state.st_size for state in found.values())
        for path in sorted(found, key=lambda path: found[path].st_mtime_ns):
            if used + size <= self.limit:
                break
            with suppress(PermissionError):  # on Windows, a file that is open
                path.unlink()
                used -= found[path].st_size

    def _locked(self, name: str = "fetching.lock") -> FileLock:
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / name)

    def _writing(self) -> Any:
        return writing("the cache of shards", self.folder, "data.cache_dir")
