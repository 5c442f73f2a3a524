"""Shards → one store: documents numbered, held-out splits chosen, and all concatenated in order.

Only here it matters which documents came before, so the store is the same whoever made the shards.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.corpus.encoding import EncodedDocuments
from bert_lightning.corpus.preparation.items import Item
from bert_lightning.corpus.preparation.shards import Arrays, Shard
from bert_lightning.corpus.preparation.tasks import LENGTHS, keys_of
from bert_lightning.corpus.readers.left_out import LeftOut, Omission
from bert_lightning.corpus.sources import TextSource
from bert_lightning.corpus.splits import SPLITS, assign_splits, require_documents
from bert_lightning.corpus.store import SplitWriter
from bert_lightning.corpus.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


def assigned_splits(
    source: TextSource,
    items: Sequence[Item],
    given: Collection[str],
    shards: Iterable[Shard],
    left_out: LeftOut,
) -> Iterator[str]:
    """Yields the split of each document of the shards, one shard an item; `given` has the splits
    that the text itself has.

    Raises:
        UserError: a split has too few documents.
    """
    for split, group in groupby(zip(items, shards, strict=True), key=lambda pair: pair[0].split):
        keys = chain.from_iterable(keys_of(shard) for _, shard in group)
        if split is not None:
            documents = require_documents(split, keys, source.data, source.origins[split])
            yield from (name for name, _ in documents)
            continue
        first = [*islice(keys, 1)]
        if not first:
            source.refuse_empty()
        yield from assign_splits(
            chain(first, keys),
            source.data,
            source.min_documents,
            source.origins[None],
            left_out,
            given,
        )


def merge(
    shards: Sequence[Shard], splits: Iterator[str], folder: Path, tokenizer: Tokenizer
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, Any]]]:
    """Writes the arrays of each split; returns their counts, and the manifest's record of files."""
    writers: dict[str, SplitWriter] = {}
    with ExitStack() as stack:
        for arrays in chain.from_iterable(shard.chunks() for shard in shards):
            names = np.array([*islice(splits, len(arrays["document_lengths"]))])
            for split in dict.fromkeys(names.tolist()):
                if split not in writers:
                    writers[split] = SplitWriter(folder / split, tokenizer)
                    stack.callback(writers[split].close)
                writers[split].append(_chosen(arrays, names == split))
        next(splits, None)  # has its last checks made
        counts: dict[str, dict[str, int]] = {}
        files: dict[str, dict[str, Any]] = {}
        for split in sorted(writers, key=SPLITS.index):
            counts[split], records = writers[split].finish()
            files |= {f"{split}/{name}": record for name, record in records.items()}
    return counts, files


def _chosen(arrays: Arrays, chosen: np.ndarray) -> EncodedDocuments:
    """Returns the chosen documents of a chunk, but for those without a token."""
    sentences, paragraphs, documents = (arrays[name] for name in LENGTHS)
    of_paragraphs = np.repeat(chosen, documents)
    of_sentences = np.repeat(of_paragraphs, paragraphs)
    of_tokens = np.repeat(of_sentences, sentences)
    return EncodedDocuments(
        arrays["token_ids"][of_tokens],
        arrays["word_starts"][of_tokens],
        sentences[of_sentences],
        paragraphs[of_paragraphs],
        documents[chosen & (documents > 0)],
    )


def add_left_out(shards: Iterable[Shard], left_out: LeftOut) -> None:
    """Sums what was left out of all items, and says once what their readers had to say."""
    messages: dict[tuple[int, str], None] = {}
    found: list[Omission] = []
    for shard in shards:
        found += [Omission(**omission) for omission in shard.facts["left_out"]]
        messages |= dict.fromkeys((level, text) for level, text in shard.facts["messages"])
    # Paragraphs are counted at the end of each item, so they come last here too.
    left_out.add_all(sorted(found, key=lambda omission: bool(omission.of_characters)))
    for level, text in messages:
        _log.log(level, "%s", text)
