"""The prepared corpus on disk: token ids and offsets in flat memory-mapped files, and a manifest.

The files grow chunk by chunk, so a corpus of any size is written in little memory. The manifest is
written last and holds the size and SHA-256 of every file, so a store that is not whole, or no
longer what was written, is told from one that is.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bert_lightning.corpus.encoding import Encoded
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text

_ARRAYS = ("token_ids", "word_starts", "sentence_starts", "paragraph_starts", "document_starts")
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
ALWAYS_HASHED = 64 * 2**20
"""Bytes up to which a store's files are hashed whenever it is opened."""


@dataclass(frozen=True)
class Split:
    """One split: flat ids, and where sentences, paragraphs and documents start.

    Every array of starts has one entry more than there are items, which is the end of the last.
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

    def first_sentence(self, pair: np.ndarray) -> np.ndarray:
        """The first sentence of each consecutive pair `(pairs,)`.

        Before it stand as many sentences as pairs, and one more for each paragraph that ended.
        """
        pairs_before = self.paragraph_starts - np.arange(len(self.paragraph_starts))
        return pair + np.searchsorted(pairs_before, pair, side="right") - 1

    def sentence_length(self, sentence: np.ndarray) -> np.ndarray:
        """Tokens of each sentence."""
        return self.sentence_starts[sentence + 1] - self.sentence_starts[sentence]

    def document_bounds(self, sentence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first sentence of each sentence's document, and the first one behind it."""
        starts = self.paragraph_starts[self.document_starts]
        document = np.searchsorted(starts, sentence, side="right") - 1
        return starts[document], starts[document + 1]


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus that is ready to make batches of."""

    name: str
    """The corpus that is really used: `data.name`, or `builtin` where that stands in."""
    origin: str
    """Where its text came from."""
    fallback_reason: str | None
    """Why the wanted corpus could not be had, where this is another."""
    key: str
    """The hash that names the store."""
    text_key: str
    """The hash of the text and of how it becomes sentences: the same for every tokenizer."""
    tokenizer: Tokenizer
    splits: dict[str, Split]
    """`train`, and `validation` and `test` where the corpus has them."""


class SplitWriter:
    """Appends encoded documents to the files of one split."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        folder.mkdir()
        narrow = np.uint16 if vocab_size <= 2**16 else np.uint32
        types = (narrow, np.bool_, np.int64, np.int64, np.int64)
        self._files = {
            name: _ArrayFile(folder / f"{name}.bin", np.dtype(dtype))
            for name, dtype in zip(_ARRAYS, types, strict=True)
        }
        self._ends = np.zeros(3, dtype=np.int64)
        for name in _ARRAYS[2:]:
            self._files[name].append(self._ends[:1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.stream.close()

    def append(self, encoded: Encoded) -> None:
        """Writes whole documents behind those that are there."""
        self._files["token_ids"].append(encoded.token_ids)
        self._files["word_starts"].append(encoded.word_starts)
        levels = (encoded.sentence_lengths, encoded.paragraph_lengths, encoded.document_lengths)
        for level, (name, lengths) in enumerate(zip(_ARRAYS[2:], levels, strict=True)):
            if len(lengths):
                ends = self._ends[level] + np.cumsum(lengths, dtype=np.int64)
                self._files[name].append(ends)
                self._ends[level] = ends[-1]

    def finish(self) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
        """Closes the files; how many of each part there are, and what the manifest says of each."""
        records = {}
        for file in self._files.values():
            file.stream.flush()
            os.fsync(file.stream.fileno())
            file.stream.close()
            records[file.path.name] = {
                "dtype": file.dtype.name,
                **_record(file.path, file.digest.hexdigest()),
            }
        sizes = [
            records[f"{name}.bin"]["bytes"] // self._files[name].dtype.itemsize for name in _ARRAYS
        ]
        parts = ("sentences", "paragraphs", "documents")
        counts = {part: size - 1 for part, size in zip(parts, sizes[2:], strict=True)}
        pairs = counts["sentences"] - counts["paragraphs"]
        return {"tokens": sizes[0], **counts, "pairs": pairs}, records


class _ArrayFile:
    """A flat binary file that is hashed as it grows."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.dtype = dtype
        self.stream = path.open("wb")
        self.digest = hashlib.sha256()

    def append(self, values: np.ndarray) -> None:
        content = values.astype(self.dtype).tobytes()
        self.stream.write(content)
        self.digest.update(content)


def write_manifest(folder: Path, content: dict[str, Any], files: dict[str, dict[str, Any]]) -> None:
    """Completes a store: what it is made of, and the record of each of its files."""
    tokenizer = folder / TOKENIZER
    own = _record(tokenizer, hashlib.sha256(tokenizer.read_bytes()).hexdigest())
    manifest = {**content, "files": {**files, TOKENIZER: own}}
    text = json.dumps({"sha256": _digest(manifest), **manifest}, indent=2)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the manifest says, or `None` where it is not there as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest if manifest.pop("sha256") == _digest(manifest) else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def find_damage(folder: Path) -> str | None:
    """Says what is wrong with a store, if anything is.

    Small stores are hashed. Of large ones only the files whose time of change is another than when
    they were written, for example because they were copied.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is missing or damaged"
    small = sum(record["bytes"] for record in manifest["files"].values()) <= ALWAYS_HASHED
    for name, record in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        state = file.stat()
        if state.st_size != record["bytes"]:
            return f"{name} has {state.st_size} bytes instead of {record['bytes']}"
        if small or state.st_mtime_ns != record["mtime_ns"]:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != record["sha256"]:
                return f"{name} is not what was written (SHA-256)"
    return None


def open_corpus(folder: Path, key: str, fallback_reason: str | None) -> PreparedCorpus:
    """Opens a store in which no damage was found."""
    manifest = read_manifest(folder)
    assert manifest is not None, folder
    return PreparedCorpus(
        name=manifest["name"],
        origin=manifest["origin"],
        fallback_reason=fallback_reason,
        key=key,
        text_key=_digest(manifest["source"]),
        tokenizer=open_tokenizer(folder),
        splits=open_splits(folder, manifest),
    )


def open_splits(folder: Path, manifest: dict[str, Any]) -> dict[str, Split]:
    """Maps the arrays of all splits into memory."""
    return {
        split: Split(
            **{
                name: _open_array(folder, f"{split}/{name}.bin", manifest["files"])
                for name in _ARRAYS
            }
        )
        for split in manifest["splits"]
    }


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that the ids are of."""
    return load_tokenizer_text((folder / TOKENIZER).read_text(encoding="utf-8"))


def _open_array(folder: Path, name: str, records: dict[str, dict[str, Any]]) -> np.ndarray:
    dtype = np.dtype(records[name]["dtype"])
    if not records[name]["bytes"]:  # which cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(folder / name, dtype, mode="r").view(np.ndarray)  # which is faster to index


def _record(file: Path, sha256: str) -> dict[str, Any]:
    state = file.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
