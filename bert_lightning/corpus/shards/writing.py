"""From a prepared corpus to shards: a new part of a sharded corpus, at any URL."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import pairwise

import numpy as np

from bert_lightning.corpus.shards.cutting import (
    FEWEST_DOCUMENTS,
    cuts,
    document_tokens,
    part_of_split,
)
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.shards.table import (
    TABLE,
    FileRecord,
    Part,
    Shard,
    Table,
    read_table,
    read_tokenizer,
    write_table,
)
from bert_lightning.corpus.store import TOKENIZER, PreparedCorpus
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.work import Work, working

FOLDER = "FOLDER"
"""The argument that names the folder."""


def known_tokenizer(folder: RemoteFolder) -> Tokenizer | None:
    """Returns the tokenizer of the corpus in a folder; None if there is none yet."""
    table = _known(folder)
    return None if table is None else read_tokenizer(folder, table)


def require_tokenizer(folder: RemoteFolder, tokenizer: Tokenizer) -> None:
    """Makes sure that a tokenizer is that of the corpus in a folder, if there is one."""
    known = known_tokenizer(folder)
    if known is not None and known.to_str() != tokenizer.to_str():
        raise UserError(
            f"{folder.url} has shards of another tokenizer: omit init_from and the options of the "
            "tokenizer, which then is that of the shards, or write to another folder"
        )


def add_part(folder: RemoteFolder, corpus: PreparedCorpus, tokens: int) -> Table:
    """Writes a prepared corpus as shards of about so many tokens; returns the new table.

    Whatever interrupts it, the folder holds the corpus of before, and the same call writes again.

    Raises:
        UserError: the corpus is there already, has another tokenizer or too few documents; or the
            folder cannot be written.
    """
    require_tokenizer(folder, corpus.tokenizer)
    train = corpus.splits["train"]
    if train.documents < FEWEST_DOCUMENTS:
        raise UserError(
            f"{corpus.origin} has {train.documents} document to train on, and a shard needs "
            f"{FEWEST_DOCUMENTS}: a random second half comes from another document of its shard"
        )
    _require_new(_known(folder), folder, corpus)
    try:
        with working("writing shards", _tokens(corpus), "tokens") as work:
            part = _write(folder, corpus, tokens, work)
        require_tokenizer(folder, corpus.tokenizer)  # another part may have come meanwhile
        table = _known(folder) or _empty(folder, corpus)
        _require_new(table, folder, corpus)
        table = replace(table, parts=[*table.parts, part])
        write_table(folder, table)
    except OSError as error:
        raise UserError(
            f"{folder.url} cannot be written: {error.strerror or error}; the shards that it had "
            "are untouched"
        ) from error
    return table


def _empty(folder: RemoteFolder, corpus: PreparedCorpus) -> Table:
    """Writes the tokenizer, and returns a table without parts."""
    return Table(
        tokenizer=corpus.identity["tokenizer"],
        tokenizer_base=corpus.identity["tokenizer_base"],
        tokenizer_file=_write_file(
            folder, TOKENIZER, corpus.tokenizer.to_str(pretty=True).encode()
        ),
        id_type=corpus.splits["train"].token_ids.dtype.name,
        parts=[],
    )


def _tokens(corpus: PreparedCorpus) -> int:
    return sum(len(split.token_ids) for split in corpus.splits.values())


def _known(folder: RemoteFolder) -> Table | None:
    try:
        return read_table(folder, FOLDER) if folder.exists(TABLE) else None
    except OSError as error:
        raise UserError(f"{folder.url} cannot be read: {error}") from error


def _require_new(table: Table | None, folder: RemoteFolder, corpus: PreparedCorpus) -> None:
    if table is not None and corpus.text_key in [part.text_key for part in table.parts]:
        raise UserError(
            f"{folder.url} has this text already: {corpus.origin}; another data.path adds text"
        )


def _write(folder: RemoteFolder, corpus: PreparedCorpus, tokens: int, work: Work) -> Part:
    """Writes the files of a part, over those of an interrupted write."""
    place = f"{corpus.name}-{corpus.text_key[:16]}"
    splits: dict[str, list[Shard]] = {}
    for split, held in corpus.splits.items():
        bounds = cuts(document_tokens(held), tokens) if split == "train" else [0, held.documents]
        splits[split] = []
        for number, (first, end) in enumerate(pairwise(bounds)):
            arrays = part_of_split(held, first, end)
            shard = _write_shard(folder, f"{place}/{split}-{number:05}", arrays)
            splits[split].append(shard)
            work.advance(shard.tokens)
    counts = corpus.splits["train"].token_counts
    return Part(
        name=corpus.name,
        origin=corpus.origin,
        text_key=corpus.text_key,
        source=corpus.identity["source"],
        left_out=[asdict(omission) for omission in corpus.left_out],
        token_counts=_write_file(folder, f"{place}/token_counts.bin", counts.tobytes()),
        splits=splits,
    )


def _write_shard(folder: RemoteFolder, place: str, arrays: Mapping[str, np.ndarray]) -> Shard:
    files = {
        name: _write_file(folder, f"{place}/{name}.bin", array.tobytes())
        for name, array in arrays.items()
    }
    return Shard(
        tokens=len(arrays["token_ids"]),
        sentences=len(arrays["sentence_starts"]) - 1,
        paragraphs=len(arrays["paragraph_starts"]) - 1,
        documents=len(arrays["document_starts"]) - 1,
        files=files,
    )


def _write_file(folder: RemoteFolder, name: str, content: bytes) -> FileRecord:
    folder.write(name, content)
    return FileRecord(name, len(content), sha256(content).hexdigest())
