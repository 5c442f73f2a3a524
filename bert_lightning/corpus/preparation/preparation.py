"""A text → the shards of its items, and the tokenizer, by workers; a merge makes the store of them.

All that is finished lies in a folder beside the store until the store is complete, so that a
preparation that was killed continues from there.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.corpus.fingerprints import hash_file
from bert_lightning.corpus.manifest import read_manifest, write_manifest
from bert_lightning.corpus.preparation import tasks
from bert_lightning.corpus.preparation.executors import Submits, results
from bert_lightning.corpus.preparation.items import Item, in_items, uncut
from bert_lightning.corpus.preparation.merge import assigned_splits
from bert_lightning.corpus.preparation.shards import Shard, written
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.lines import MEGABYTE, METER
from bert_lightning.corpus.sources import TextSource
from bert_lightning.corpus.store import TOKENIZER, file_record, open_tokenizer
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.corpus.vocabulary.text import Count, Rereadable
from bert_lightning.errors import UserError
from bert_lightning.work import Work, working

VOCABULARY = "vocabulary"
"""The folder of the tokenizer, beside the shards."""


class Preparation:
    """The work on one text: its items, their shards, and the workers."""

    def __init__(self, source: TextSource, folder: Path, workers: Submits) -> None:
        self.source, self._workers = source, workers
        self._place = tasks.Workplace(folder, source.data)
        self.items = in_items(source.pieces())

    def tokenizer(self, make: Callable[[Rereadable], Tokenizer]) -> Tokenizer:
        """Returns the tokenizer that is made of the training text, the same after a restart."""
        folder = self._place.folder / VOCABULARY
        if (found := frozen_tokenizer(folder)) is None:
            with working("building the tokenizer") as work:
                found = make(self._training_text(work))
            save_tokenizer(folder, found)
        return found

    def encode(self, tokenizer: Tokenizer) -> list[Shard]:
        """Returns the shard of each item, encoded."""
        folder = self._place.folder / VOCABULARY
        if frozen_tokenizer(folder) is None:
            save_tokenizer(folder, tokenizer)
        file = folder / TOKENIZER
        sha256 = hash_file(file)
        with working("encoding") as work:
            self._do(work, "encoding", tasks.encode, lambda: self.items, file, sha256)
        tasks.forget()
        return [written(self._place.ids(item, sha256)) for item in self.items]

    @property
    def given(self) -> list[str]:
        """The splits that the text itself has."""
        return [*dict.fromkeys(item.split for item in self.items if item.split is not None)]

    def _training(self) -> list[Item]:
        return [item for item in self.items if item.split in (None, "train")]

    def _training_text(self, work: Work) -> Rereadable:
        """Returns the sentences of the training split, which are kept before the first reading."""
        ready: list[tuple[Item, np.ndarray]] = []

        def chosen() -> list[tuple[Item, np.ndarray]]:
            if not ready:
                self._do(work, "reading the text", tasks.keep_text, self._training)
                work.restart("training the tokenizer")
                ready.extend(zip(self._training(), self._masks(), strict=True))
            return ready

        def sentences() -> Iterator[str]:
            for item, mask in chosen():
                yield from tasks.kept_sentences(written(self._place.text(item)), mask)

        def count(counter: Count) -> Counter[str]:
            calls = [(item, self._place, mask, counter) for item, mask in chosen()]
            total: Counter[str] = Counter()
            megabytes = sum(item.bytes for item, *_ in calls) / MEGABYTE
            work.restart("counting words", megabytes or None, "MB")
            counted = results(self._workers, tasks.count_in, calls)
            for call, words in zip(calls, counted, strict=True):
                total.update(words)
                work.advance(call[0].bytes / MEGABYTE)
            work.restart("training the tokenizer")
            return total

        return Rereadable(sentences, count)

    def _masks(self) -> Iterator[np.ndarray]:
        """Yields, for each training item, which of its documents are in the training split."""
        items = self._training()
        shards = [written(self._place.text(item)) for item in items]
        splits = assigned_splits(self.source, items, self.given, shards, LeftOut())
        for shard in shards:
            number = sum(len(chunk["key_lengths"]) for chunk in shard.chunks("key_lengths"))
            yield np.array([split == "train" for split in islice(splits, number)], np.bool_)
        next(splits, None)  # has its last checks made

    def _do(
        self,
        work: Work,
        what: str,
        task: Callable[..., None],
        items: Callable[[], Sequence[Item]],
        *more: Any,
    ) -> None:
        """Has the workers do a task with each item.

        A part that cannot be read by itself is read again as a whole: only that can tell why.
        """
        todo = items()
        total = sum(item.bytes for item in todo) / MEGABYTE
        finished, since = 0.0, METER.megabytes()
        # The readers of this process tell how far they are; other workers, what they finished.
        work.restart(what, total or None, "MB", lambda: finished + since())
        done = results(self._workers, task, [(item, self._place, *more) for item in todo])
        for item in todo:
            try:
                next(done)
            except UserError:
                if not item.cut:
                    raise
                self.items = uncut(self.items, item)
                return self._do(work, what, task, items, *more)
            finished, since = finished + item.bytes / MEGABYTE, METER.megabytes()
        return None


def frozen_tokenizer(folder: Path) -> Tokenizer | None:
    """Returns the tokenizer that a folder's manifest records, if it is intact."""
    manifest, file = read_manifest(folder), folder / TOKENIZER
    sha256 = manifest["files"][TOKENIZER]["sha256"] if manifest else None
    intact = manifest and file.is_file() and hash_file(file) == sha256
    return open_tokenizer(folder) if intact else None


def save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Writes a tokenizer, and last a manifest that records it."""
    folder.mkdir(exist_ok=True)
    file = folder / TOKENIZER
    file.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    write_manifest(folder, {"files": {TOKENIZER: file_record(file, hash_file(file))}})
