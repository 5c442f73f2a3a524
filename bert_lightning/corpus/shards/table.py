"""The table of a sharded corpus, `shards.json`: its parts, their shards, and what each holds.

A part is a prepared corpus that was cut into shards. Each shard of the training split has a folder
with its arrays, as a prepared corpus has them; so has each held-out split, which is one shard. The
table is written last, so a write that was killed leaves the table, and the corpus, of before.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from bert_lightning.corpus.manifest import digest
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text
from bert_lightning.errors import UserError

SHARDS_FORMAT = 1
"""The version of the table, of the arrays that it lists, and of the order of training."""
TABLE = "shards.json"


@dataclass(frozen=True)
class FileRecord:
    """One file, by its name in the corpus."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """Consecutive documents of a split; the number of what it holds, and its files."""

    tokens: int
    sentences: int
    paragraphs: int
    documents: int
    files: dict[str, FileRecord]
    """By the names of the arrays of a `Split`."""

    @property
    def pairs(self) -> int:
        return self.sentences - self.paragraphs

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True)
class Part:
    """One prepared corpus, in shards."""

    name: str
    origin: str
    text_key: str
    """That of the prepared corpus."""
    source: dict[str, Any]
    """The identity of its text, as in the manifest."""
    left_out: list[dict[str, Any]]
    token_counts: FileRecord
    """Of the training split."""
    splits: dict[str, list[Shard]]
    """One shard of each held-out split."""


@dataclass(frozen=True)
class Table:
    """All parts of a sharded corpus, and the one tokenizer of their ids."""

    tokenizer: dict[str, Any]
    """The options that it was built with."""
    tokenizer_base: str | None
    """The SHA-256 of the tokenizer that it builds on, if so."""
    tokenizer_file: FileRecord
    id_type: str
    """The NumPy type of token ids."""
    parts: list[Part]

    def shards(self, split: str) -> list[Shard]:
        """Returns the shards of a split, of all parts in turn."""
        return [shard for part in self.parts for shard in part.splits.get(split, [])]

    def counts(self, split: str) -> dict[str, int]:
        """Returns what a split holds, as the manifest of a prepared corpus says it."""
        names = ("tokens", "sentences", "paragraphs", "documents", "pairs")
        shards = self.shards(split)
        return {name: sum(getattr(shard, name) for shard in shards) for name in names}

    @property
    def splits(self) -> list[str]:
        """The splits that it has; the first is `train`."""
        found = {split for part in self.parts for split in part.splits}
        return [split for split in ("train", "validation", "test") if split in found]


def write_table(folder: RemoteFolder, table: Table) -> None:
    """Writes the table, with a SHA-256 of itself, in the place of the one before."""
    content = {"format": SHARDS_FORMAT, **asdict(table)}
    text = json.dumps({"sha256": digest(content), **content}, indent=1)
    folder.write(TABLE, text.encode())


def read_table(folder: RemoteFolder, option: str) -> Table:
    """Reads the table; `option` is what the user named the folder with.

    Raises:
        UserError: there is none, it is corrupted, or its format is that of another version.
    """
    place = f"{option}={folder.url}"
    try:
        content = folder.read(TABLE)
    except FileNotFoundError as error:
        raise UserError(
            f"{place}: there is no {TABLE}; bert-lightning shards {folder.url} data=… writes a "
            "corpus there"
        ) from error
    except OSError as error:
        raise UserError(f"{place}: {TABLE} cannot be read: {error}") from error
    return _checked(content, place)


def read_tokenizer(folder: RemoteFolder, table: Table) -> Tokenizer:
    """Reads the tokenizer of a corpus; a UserError says that it is missing or corrupted."""
    try:
        content = folder.read(table.tokenizer_file.name)
        if sha256(content).hexdigest() == table.tokenizer_file.sha256:
            return load_tokenizer_text(content.decode())
        reason = "it is not what was written (SHA-256)"
    except OSError as error:
        reason = str(error)
    raise UserError(
        f"{folder.url}: {table.tokenizer_file.name} cannot be used: {reason}; copy it again"
    )


def _checked(content: bytes, place: str) -> Table:
    corrupted = UserError(f"{place}: {TABLE} is corrupted; write or copy the corpus again")
    try:
        found = json.loads(content)
        written = found.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise corrupted from None
    if found.get("format") != SHARDS_FORMAT:
        raise UserError(
            f"{place}: {TABLE} has format version {found.get('format')}, and this version of "
            f"bert-lightning reads {SHARDS_FORMAT}: write the shards again, or use the version "
            "that wrote them"
        )
    if written != digest(found):
        raise corrupted
    return _table(found)


def _table(found: Mapping[str, Any]) -> Table:
    parts = [
        Part(
            **{
                **part,
                "token_counts": FileRecord(**part["token_counts"]),
                "splits": {
                    split: [_shard(shard) for shard in shards]
                    for split, shards in part["splits"].items()
                },
            }
        )
        for part in found["parts"]
    ]
    return Table(
        tokenizer=found["tokenizer"],
        tokenizer_base=found["tokenizer_base"],
        tokenizer_file=FileRecord(**found["tokenizer_file"]),
        id_type=found["id_type"],
        parts=parts,
    )


def _shard(found: Mapping[str, Any]) -> Shard:
    files = {name: FileRecord(**file) for name, file in found["files"].items()}
    return Shard(**{**found, "files": files})
