"""How long the preparation of a text takes and how much disk it needs, by a sample of the text."""

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from bert_lightning.config import CorpusConfig, PairsConfig, TokenizerConfig
from bert_lightning.corpus.catalog import store_folder
from bert_lightning.corpus.encoding import TextEncoder
from bert_lightning.corpus.manifest import digest, identity_of, read_manifest
from bert_lightning.corpus.preparation.executors import process_count
from bert_lightning.corpus.preparation.items import in_items
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.lines import MEGABYTE, METER
from bert_lightning.corpus.sources import TextSource, find_source, sentences_of
from bert_lightning.corpus.splits import Document
from bert_lightning.corpus.store import id_type
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer, rows_needed
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.corpus.words import find_segmenter

SAMPLE = 3.0
"""Megabytes of text that are measured, if reading them takes no longer than `SECONDS`."""
SECONDS = 1.0


@dataclass(frozen=True)
class Sample:
    """What preparing the beginning of a text took."""

    megabytes: float
    """Of the files, as they are on the disk."""
    seconds: float
    store_megabytes: float
    """Of the arrays that it becomes."""
    text_megabytes: float
    """Of its sentences."""

    @property
    def rate(self) -> float:
        """Megabytes of files in a second."""
        return self.megabytes / self.seconds


@dataclass(frozen=True)
class Forecast:
    """What the preparation of a text takes on this machine."""

    megabytes: float
    store: Path | None
    """The prepared corpus, where there is one already."""
    sample: Sample | None
    """None where there is one."""
    workers: int

    def _of_all(self, amount: float) -> float:
        assert self.sample is not None
        return amount * self.megabytes / self.sample.megabytes

    @property
    def seconds(self) -> float:
        assert self.sample is not None
        return self._of_all(self.sample.seconds) / self.workers

    @property
    def store_megabytes(self) -> float:
        assert self.sample is not None
        return self._of_all(self.sample.store_megabytes)

    @property
    def most_megabytes(self) -> float:
        """Disk at most: shards of sentences, shards of ids, and the store that is made of them."""
        assert self.sample is not None
        return self._of_all(self.sample.text_megabytes + 2 * self.sample.store_megabytes)


def forecast(
    data: CorpusConfig, tokenizer: TokenizerConfig, pairs: PairsConfig, base: Tokenizer | None
) -> Forecast | None:
    """Returns what preparing takes; None for a text that is in no files of this machine.

    Raises:
        UserError: the text cannot be read.
    """
    source = find_source(data, pairs.min_documents)
    if base is None and tokenizer.path is not None:
        base = load_tokenizer(tokenizer.path)
    if not source.megabytes:
        return None
    identity = identity_of(source.fingerprint, tokenizer, base)
    folder = store_folder(data, source.name, digest(identity))
    stored = read_manifest(folder) is not None
    workers = process_count(data.prepare, round(source.megabytes * MEGABYTE))
    sample = None if stored else _measure(source, tokenizer, base)
    return Forecast(source.megabytes, folder if stored else None, sample, workers)


def _measure(source: TextSource, config: TokenizerConfig, base: Tokenizer | None) -> Sample:
    since, read = time.perf_counter(), METER.megabytes()
    documents, megabytes = list[Document](), 0.0
    for document in _documents(source):
        documents.append(document)
        megabytes = read()  # a file that is closed counts as read
        if megabytes >= SAMPLE or time.perf_counter() - since > SECONDS:
            break
    sentences = [*chain.from_iterable(chain.from_iterable(documents))]
    text = sum(map(len, sentences)) / MEGABYTE
    if base is None:  # the sample may lack the words that a vocabulary of all the text has
        few = replace(config, vocab_size=None, min_frequency=1, extend=0)
        base = build_tokenizer(sentences, few, source.data.format)
    size = 0.0
    if documents:
        ids, _, *lengths = TextEncoder(base, find_segmenter(source.data.words)).encode(documents)
        width = id_type(config.vocab_size or rows_needed(base))(0).itemsize + 1
        size = (len(ids) * width + 8 * sum(map(len, lengths))) / MEGABYTE
    return Sample(max(megabytes, 1e-6), time.perf_counter() - since, size, text)


def _documents(source: TextSource) -> Generator[Document, None, None]:
    left_out = LeftOut()
    pieces = chain.from_iterable(item.pieces for item in in_items(source.pieces()))
    raw = chain.from_iterable(piece.raw_documents(source.data, left_out) for piece in pieces)
    yield from sentences_of(raw, source.data, left_out)
