"""From the URL of a sharded corpus to a prepared corpus: the table now, the shards as needed."""

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from bert_lightning.config import CorpusConfig, TokenizerConfig
from bert_lightning.corpus.catalog import cache_folder
from bert_lightning.corpus.manifest import digest, tokenizer_options
from bert_lightning.corpus.readers.left_out import Omission, announce
from bert_lightning.corpus.shards.cache import ShardCache
from bert_lightning.corpus.shards.cutting import joined
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.shards.split import NEEDED, ShardedSplit, Shards, sharded
from bert_lightning.corpus.shards.table import SHARDS_FORMAT, Table, read_table, read_tokenizer
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer, rows_needed
from bert_lightning.errors import UserError

log = logging.getLogger(__name__)

_GB = 1e9


def open_shards(
    data: CorpusConfig, tokenizer_config: TokenizerConfig, base: Tokenizer | None
) -> PreparedCorpus:
    """Opens the corpus at `data.path`; its held-out splits are fetched at once.

    `base` is the tokenizer of a pretrained model.

    Raises:
        UserError: it cannot be read, or does not fit the options.
    """
    if data.path is None:
        raise UserError(
            "data=shards reads a corpus in shards: data.path=s3://bucket/corpus, or another URL or "
            "folder, says where; bert-lightning shards FOLDER data=… writes one"
        )
    remote = RemoteFolder(data.path)
    table = read_table(remote, "data.path")
    tokenizer = read_tokenizer(remote, table)
    _require_tokenizer(table, tokenizer, tokenizer_config, base)
    _require_room(data, table)
    cache = ShardCache(remote, cache_folder(data) / "shards", data.shard_cache_gb * _GB)
    train = _training_split(table, cache)
    rows = rows_needed(tokenizer)
    held_out = {split: _whole(table, split, cache, rows) for split in table.splits[1:]}
    left_out = [Omission(**omission) for part in table.parts for omission in part.left_out]
    announce(left_out)
    log.info(
        "%s: %s training tokens in %s shards; lengths, duplicates and overlong pairs are told of "
        "one shard",
        *(remote.url, f"{len(train.token_ids):,}", f"{len(train.shards):,}"),
    )
    identity = _identity(table)
    return PreparedCorpus(
        name=data.name or table.parts[0].name,
        origin=remote.url,
        fallback_reason=None,
        key=digest(identity),
        text_key=digest({"parts": [part.text_key for part in table.parts]}),
        identity=identity,
        left_out=left_out,
        tokenizer=tokenizer,
        splits={"train": train, **held_out},
    )


def _training_split(table: Table, cache: ShardCache) -> ShardedSplit:
    counts = [cache.array(part.token_counts, np.dtype(np.int64)) for part in table.parts]
    return sharded(Shards(table.shards("train"), cache, table.id_type), np.sum(counts, axis=0))


def _whole(table: Table, split: str, cache: ShardCache, rows: int) -> Split:
    """Returns a held-out split, in memory."""
    shards = Shards(table.shards(split), cache, table.id_type)
    return joined([shards.opened(number) for number in range(len(shards))], rows)


def _identity(table: Table) -> dict[str, Any]:
    """Returns what decides the examples of a run, as that of a prepared corpus says it."""
    training = table.shards("train")
    content = digest({"parts": [asdict(part) for part in table.parts]})
    return {
        "format": SHARDS_FORMAT,
        "source": {
            "kind": "shards",
            "content": f"{len(training)} shards, SHA-256 {content}",
            "options": {},
            "splitter_version": "",
            "segmenter_version": "",
            "min_documents": 0,
        },
        "tokenizer": table.tokenizer,
        "tokenizer_base": table.tokenizer_base,
        "splits": {split: table.counts(split) for split in table.splits},
    }


def _require_tokenizer(
    table: Table, tokenizer: Tokenizer, config: TokenizerConfig, base: Tokenizer | None
) -> None:
    """Makes sure that no option asks for another tokenizer than the one of the shards."""
    if base is None and config.path is not None:
        base = load_tokenizer(config.path)
    if base is not None:
        if base.to_str() != tokenizer.to_str() or config.extend:
            raise UserError(
                "data.path: the ids of these shards belong to their own tokenizer, and "
                "init_from, tokenizer.path or tokenizer.extend ask for another: omit them, or "
                "write the text in shards with that tokenizer"
            )
        return
    default, options = tokenizer_options(TokenizerConfig()), tokenizer_options(config)
    asked = {name: value for name, value in options.items() if value != default[name]}
    for name, value in asked.items():
        if table.tokenizer[name] != value:
            raise UserError(
                f"{name}={value}, and the ids of these shards belong to their own tokenizer, made "
                f"with {name}={table.tokenizer[name]}: omit the options of the tokenizer"
            )


def _require_room(data: CorpusConfig, table: Table) -> None:
    """Makes sure that all shards that a step needs have room in the cache."""
    largest = sorted((shard.bytes for shard in table.shards("train")), reverse=True)[:NEEDED]
    if sum(largest) > data.shard_cache_gb * _GB:
        raise UserError(
            f"data.shard_cache_gb={data.shard_cache_gb:g} is less than the {len(largest)} shards "
            f"that training needs at a time: {sum(largest) / _GB:.3g} GB or more holds them"
        )
