"""The prepared corpus on disk: token ids, offsets and counts in flat memory-mapped files.

The files grow chunk by chunk, so a corpus of any size needs little memory. The manifest, written
last, holds the size and SHA-256 of every file: a complete and unchanged corpus agrees with it.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.corpus.encoding import EncodedDocuments
from bert_lightning.corpus.fingerprints import ALWAYS_HASHED, hash_file
from bert_lightning.corpus.manifest import (
    CORPUS_FORMAT,
    DESCRIBED,
    MANIFEST,
    describe_difference,
    digest,
    read_manifest,
)
from bert_lightning.corpus.readers.left_out import Omission
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text, rows_needed
from bert_lightning.files import sync

_STARTS = ("sentence_starts", "paragraph_starts", "document_starts")
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Split:
    """One split: flat ids, and where sentences, paragraphs and documents start.

    Each array of starts has one more value than there are items: the end of the last one.
    """

    token_ids: np.ndarray
    """`(tokens,)` uint16 or uint32."""
    word_starts: np.ndarray
    """`(tokens,)` bool: whether a token begins a word, for masking whole ones."""
    sentence_starts: np.ndarray
    """`(sentences + 1,)` int64, counted in tokens."""
    paragraph_starts: np.ndarray
    """`(paragraphs + 1,)` int64, counted in sentences."""
    document_starts: np.ndarray
    """`(documents + 1,)` int64, counted in paragraphs."""
    token_counts: np.ndarray
    """`(vocab,)` int64: how often each token occurs in the split."""

    def counts_of_rows(self, rows: int) -> np.ndarray:
        """Returns the token counts `(rows,)` of a model with more rows than the vocabulary."""
        return np.pad(self.token_counts, (0, rows - len(self.token_counts)))

    @property
    def sentences(self) -> int:
        return len(self.sentence_starts) - 1

    @property
    def paragraphs(self) -> int:
        return len(self.paragraph_starts) - 1

    @property
    def documents(self) -> int:
        return len(self.document_starts) - 1

    @property
    def pairs(self) -> int:
        """Pairs of consecutive sentences: one fewer than sentences in each paragraph."""
        return self.sentences - self.paragraphs

    def first_sentence(self, pair: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns the first sentence of each pair `(pairs,)` within the parts with these starts."""
        # As many sentences as pairs precede it, and one more for each part that has ended.
        pairs_before = starts - np.arange(len(starts))
        return pair + np.searchsorted(pairs_before, pair, side="right") - 1

    def sentence_length(self, sentence: np.ndarray) -> np.ndarray:
        """Returns the number of tokens in each sentence."""
        return self.sentence_starts[sentence + 1] - self.sentence_starts[sentence]

    def document_bounds(self, sentence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first sentence of each sentence's document, and the first one after it."""
        starts = self.paragraph_starts[self.document_starts]
        document = np.searchsorted(starts, sentence, side="right") - 1
        return starts[document], starts[document + 1]


_ARRAYS = [array.name for array in fields(Split)]


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus that is ready to be made into batches."""

    name: str
    """`data.name`, or `builtin` if that is the fallback."""
    origin: str
    """The place that its text came from."""
    fallback_reason: str | None
    """The reason for using a fallback; None if this is the requested corpus."""
    key: str
    """The SHA-256 of its identity, which names it in the cache."""
    text_key: str
    """The SHA-256 of the text, and of its sentences and words: the same for every tokenizer."""
    identity: dict[str, Any]
    """What it is made of, and the counts of its splits; see `describe_difference`."""
    left_out: list[Omission]
    """What is in the text, or beside it, and not in the corpus."""
    tokenizer: Tokenizer
    splits: dict[str, Split]
    """`train`, and `validation` and `test` if the corpus has them."""

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """Says in words how it differs from the corpus of another identity."""
        return [f"corpus: {change}" for change in describe_difference(before, self.identity)]


class _StoredSplit(Split):
    """A split whose arrays another process maps as well, instead of getting a copy of them."""

    def __init__(self, folder: Path, name: str, files: dict[str, dict[str, Any]]) -> None:
        super().__init__(*(open_array(folder, f"{name}/{part}.bin", files) for part in _ARRAYS))
        object.__setattr__(self, "_arguments", (folder, name, files))

    def __reduce__(self) -> tuple[Any, ...]:
        return _StoredSplit, self._arguments  # type: ignore[attr-defined]


class SplitWriter:
    """Appends encoded documents to the files of one split, and counts their tokens."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        folder.mkdir()
        rows = rows_needed(tokenizer)
        types = {"token_ids": id_type(rows), "word_starts": np.bool_}
        self._files = {
            name: ArrayFile(folder / f"{name}.bin", np.dtype(types.get(name, np.int64)))
            for name in _ARRAYS
        }
        self._token_counts = np.zeros(rows, np.int64)
        self._ends = np.zeros(len(_STARTS), np.int64)
        for name in _STARTS:
            self._files[name].append(self._ends[:1])

    def close(self) -> None:
        for file in self._files.values():
            file.stream.close()

    def append(self, encoded: EncodedDocuments) -> None:
        """Writes whole documents after those that are there."""
        self._files["token_ids"].append(encoded.token_ids)
        self._files["word_starts"].append(encoded.word_starts)
        self._token_counts += np.bincount(encoded.token_ids, minlength=len(self._token_counts))
        for level, (name, lengths) in enumerate(zip(_STARTS, encoded[2:], strict=True)):
            if len(lengths):
                ends = self._ends[level] + np.cumsum(lengths, dtype=np.int64)
                self._files[name].append(ends)
                self._ends[level] = ends[-1]

    def finish(self) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
        """Closes the files; returns the split's counts, and the manifest's record of each file."""
        self._files["token_counts"].append(self._token_counts)
        records = {}
        for file in self._files.values():
            sync(file.stream)
            records[file.path.name] = file.close()
        sizes = [records[f"{name}.bin"]["bytes"] // self._ends.itemsize - 1 for name in _STARTS]
        parts = dict(zip(("sentences", "paragraphs", "documents"), sizes, strict=True))
        tokens, pairs = int(self._token_counts.sum()), sizes[0] - sizes[1]
        return {"tokens": tokens, **parts, "pairs": pairs}, records


def id_type(rows: int) -> type[np.unsignedinteger[Any]]:
    """Returns the type of token ids below `rows`."""
    return np.uint16 if rows <= 2**16 else np.uint32


class ArrayFile:
    """A flat binary file that is hashed as it grows."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype = path, dtype
        self.stream = path.open("wb")
        self.digest = hashlib.sha256()

    def append(self, values: np.ndarray) -> None:
        content = values.astype(self.dtype).tobytes()
        self.stream.write(content)
        self.digest.update(content)

    def close(self) -> dict[str, Any]:
        """Closes the file, and returns what the manifest says of it."""
        self.stream.close()
        record = file_record(self.path, self.digest.hexdigest())
        return {"dtype": self.dtype.name, **record}


def file_record(file: Path, sha256: str) -> dict[str, Any]:
    """Returns what the manifest says of a file."""
    state = file.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256}


def find_damage(folder: Path) -> str | None:
    """Says why a prepared corpus cannot be used, if so.

    All files of a small corpus are hashed; of a large one, those whose modification time is not the
    recorded one, for example because they were copied.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is missing or corrupted"
    if manifest.get("format") != CORPUS_FORMAT:
        return f"its format version is {manifest.get('format')} instead of {CORPUS_FORMAT}"
    small = sum(record["bytes"] for record in manifest["files"].values()) <= ALWAYS_HASHED
    return find_changed(folder, manifest["files"], hashed=small)


def find_changed(folder: Path, records: dict[str, dict[str, Any]], hashed: bool) -> str | None:
    """Says which file is not what its record says, if so; all are hashed, or what looks newer."""
    for name, record in records.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        state = file.stat()
        if state.st_size != record["bytes"]:
            return f"{name} has {state.st_size} bytes instead of {record['bytes']}"
        newer = state.st_mtime_ns != record["mtime_ns"]
        if (hashed or newer) and hash_file(file) != record["sha256"]:
            return f"{name} is not what was written (SHA-256)"
    return None


def open_corpus(folder: Path, key: str, fallback_reason: str | None) -> PreparedCorpus:
    """Opens a prepared corpus in which no damage was found, and notes the time of this use."""
    manifest = read_manifest(folder)
    assert manifest is not None, folder
    files = manifest["files"]
    with suppress(OSError):  # a cache that is read only
        os.utime(folder / MANIFEST)
    return PreparedCorpus(
        name=manifest["name"],
        origin=manifest["origin"],
        fallback_reason=fallback_reason,
        key=key,
        text_key=digest(manifest["source"]),
        identity={name: manifest[name] for name in DESCRIBED},
        left_out=[Omission(**omission) for omission in manifest["left_out"]],
        tokenizer=open_tokenizer(folder),
        splits={split: _StoredSplit(folder, split, files) for split in manifest["splits"]},
    )


def open_tokenizer(folder: Path) -> Tokenizer:
    """Opens the tokenizer that the ids belong to."""
    return load_tokenizer_text((folder / TOKENIZER).read_text(encoding="utf-8"))


def open_array(folder: Path, name: str, records: dict[str, dict[str, Any]]) -> np.ndarray:
    """Maps a file of an array, of which `records` has the type."""
    dtype = np.dtype(records[name]["dtype"])
    if not records[name]["bytes"]:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(folder / name, dtype, mode="r").view(np.ndarray)  # faster to index
