"""Shards: what workers make of the items of a text, as arrays in a folder each.

A shard is written aside and renamed when it is complete, and its manifest holds the size and the
SHA-256 of every array. So a worker may be killed at any moment: a shard is there and whole, or it
is made again.
"""

import errno
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.corpus.manifest import read_manifest, write_manifest
from bert_lightning.corpus.store import ArrayFile, find_changed

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shard:
    """A complete shard."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What its writer says of it, as plain values."""
        return dict(self.manifest["facts"])

    def chunks(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        """Yields its arrays, all or the named ones, in the pieces that they were appended in.

        They are read and not mapped: mapped memory would grow with the shard.
        """
        if not self.manifest["chunks"]:
            return
        records = self.manifest["files"]
        chosen = names or [file.removesuffix(".bin") for file in records]
        types = {name: np.dtype(records[f"{name}.bin"]["dtype"]) for name in chosen}
        with ExitStack() as stack:
            opened = ((self.folder / f"{name}.bin").open("rb") for name in chosen)
            streams = dict(zip(chosen, map(stack.enter_context, opened), strict=True))
            for lengths in self.manifest["chunks"]:
                yield {
                    name: np.fromfile(stream, types[name], lengths[name])
                    for name, stream in streams.items()
                }


class ShardWriter:
    """Writes one shard; see :func:`written_shard`."""

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = {}
        self._folder = folder
        self._files: dict[str, ArrayFile] = {}
        self._chunks: list[dict[str, int]] = []

    def append(self, arrays: Arrays) -> None:
        """Writes the next chunk; each has the same arrays, of the same types."""
        for name, array in arrays.items():
            if name not in self._files:
                self._files[name] = ArrayFile(self._folder / f"{name}.bin", array.dtype)
            self._files[name].append(array)
        self._chunks.append({name: len(array) for name, array in arrays.items()})

    def close(self) -> None:
        for file in self._files.values():
            file.stream.close()

    def finish(self) -> None:
        """Closes the files, and writes the manifest."""
        files = {file.path.name: file.close() for file in self._files.values()}
        content = {"files": files, "chunks": self._chunks, "facts": self.facts}
        write_manifest(self._folder, content)


@contextmanager
def written_shard(folder: Path) -> Iterator[ShardWriter]:
    """A context in which a shard is written, which takes its folder's name at the end."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    writer = ShardWriter(temporary)
    try:
        yield writer
        writer.finish()
        with suppress(OSError):  # another worker was faster
            temporary.rename(folder)
    finally:
        writer.close()
        shutil.rmtree(temporary, ignore_errors=True)


def written(folder: Path) -> Shard:
    """Returns a shard that was found or written a moment ago."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise OSError(errno.EIO, "a shard of the preparation has vanished", str(folder))
    return Shard(folder, manifest)


def open_shard(folder: Path) -> Shard | None:
    """Returns a shard whose files are what was written, or None; what is corrupted is removed."""
    manifest = read_manifest(folder)
    if manifest is not None and find_changed(folder, manifest["files"], hashed=True) is None:
        return Shard(folder, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    return None
