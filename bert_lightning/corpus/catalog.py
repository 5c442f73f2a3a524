"""The catalog of prepared corpora: where they lie, which there are, and how they are removed."""

import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.manifest import CORPUS_FORMAT, MANIFEST, read_manifest
from bert_lightning.corpus.store import TOKENIZER

TEMPORARY = ".tmp"
"""The ending of a folder that is being built or removed; it is no prepared corpus."""

PARTS = ".parts"
"""The ending of a folder with the finished shards of a corpus that is not complete yet."""


def cache_folder(data: CorpusConfig) -> Path:
    """Returns the folder that holds all prepared corpora."""
    return Path(data.cache_dir or user_cache_dir("bert-lightning")).expanduser().absolute()


def store_folder(data: CorpusConfig, name: str, key: str) -> Path:
    """Returns the folder of the prepared corpus of this name and key, whether it exists or not."""
    return cache_folder(data) / f"{name}-{key[:16]}"


def lock_of(folder: Path) -> Path:
    """Returns the lock that a process holds while it builds or removes this prepared corpus."""
    return Path(f"{folder}.lock")


@dataclass(frozen=True)
class CatalogEntry:
    """One prepared corpus in the cache."""

    folder: Path
    name: str
    origin: str
    """The place that its text came from; empty if the manifest is corrupted."""
    tokens: int
    """In all splits; 0 if the manifest is corrupted."""
    format: int | None
    """The format version; None if the manifest is corrupted or older than format versions."""
    bytes: int
    built: float
    """In seconds since the epoch, as `last_used`."""
    last_used: float
    interrupted: bool = False
    """Whether these are the finished shards of a preparation that was interrupted, or still runs;
    the same command continues it."""

    @property
    def usable(self) -> bool:
        """Whether this version of the code can read it."""
        return self.format == CORPUS_FORMAT

    def unused_for(self, days: float) -> bool:
        """Whether nothing has opened it for so many days."""
        return time.time() - self.last_used > days * 24 * 60 * 60


def list_corpora(cache: Path) -> list[CatalogEntry]:
    """Returns all prepared corpora of a cache folder, the most recently used first."""
    found = []
    for folder in cache.iterdir() if cache.is_dir() else []:
        with suppress(FileNotFoundError):  # it was removed a moment ago
            if _is_prepared(folder):
                found.append(_entry(folder))
            elif folder.name.endswith(PARTS) and folder.is_dir():
                found.append(_shards(folder))
    return sorted(found, key=lambda entry: (-entry.last_used, entry.folder.name))


def remove(entry: CatalogEntry) -> bool:
    """Removes a prepared corpus, and returns False if a process is building it just now.

    A run that has it open keeps reading it; a later run builds it again from the text. A tokenizer
    of wordpieces may then come out different: resuming takes the one in the run's folder. An
    OSError says that the corpus cannot be removed.
    """
    temporary = entry.folder.with_name(entry.folder.name + TEMPORARY)
    store = entry.folder.with_name(entry.folder.name.removesuffix(PARTS))
    try:
        with FileLock(lock_of(store), timeout=0):
            shutil.rmtree(temporary, ignore_errors=True)
            entry.folder.rename(temporary)  # atomic: it is never there in part
            shutil.rmtree(temporary)
    except Timeout:
        return False
    return True


def remove_interrupted(cache: Path) -> None:
    """Removes what interrupted builds and removals left; a running build holds its lock."""
    for temporary in cache.glob(f"*{TEMPORARY}"):
        store = temporary.with_name(temporary.name.removesuffix(TEMPORARY).removesuffix(PARTS))
        with suppress(Timeout), FileLock(lock_of(store), timeout=0):
            shutil.rmtree(temporary, ignore_errors=True)


def total_size(entries: Iterable[CatalogEntry]) -> str:
    """Returns the size of prepared corpora on disk, in MB."""
    return f"{sum(entry.bytes for entry in entries) / 1e6:,.0f} MB"


def _is_prepared(folder: Path) -> bool:
    """Whether this is a prepared corpus: a cache folder may hold other things of its owner's."""
    named = re.fullmatch(r"\w[\w.-]*-[0-9a-f]{16}", folder.name) is not None
    return named and (folder / MANIFEST).is_file() and (folder / TOKENIZER).is_file()


def _shards(folder: Path) -> CatalogEntry:
    used = folder.stat().st_mtime
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    name = folder.name.removesuffix(PARTS).rpartition("-")[0]
    return CatalogEntry(folder, name, "", 0, None, size, used, used, interrupted=True)


def _entry(folder: Path) -> CatalogEntry:
    manifest = read_manifest(folder) or {}
    record = manifest.get("files", {}).get(TOKENIZER, {})
    built = record.get("mtime_ns", (folder / TOKENIZER).stat().st_mtime_ns)
    return CatalogEntry(
        folder=folder,
        name=manifest.get("name", folder.name.rpartition("-")[0]),
        origin=manifest.get("origin", ""),
        tokens=sum(split["tokens"] for split in manifest.get("splits", {}).values()),
        format=manifest.get("format"),
        bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        built=built / 1e9,
        last_used=(folder / MANIFEST).stat().st_mtime,
    )
