"""The evaluation set: a held-out split as fixed examples, and all that is known about them.

A run makes one per split and process. Every rank iterates over its batches; the hash, the labels
and the baselines are computed when rank 0 first asks for them, in one pass over the batches.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from bert_lightning.batch import IGNORE_INDEX, UNK, PretrainBatch
from bert_lightning.config import BatchConfig, MaskingConfig
from bert_lightning.corpus.shards.split import sample_of
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.corpus.tokenizer import special_id
from bert_lightning.data.baselines import Baselines, LabelStatistics, label_statistics, unigram_nll
from bert_lightning.data.batches import LABELERS, ExampleBuilder, Labeler
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.errors import UserError

_SEED = 2**32
"""Outside the seeds of runs: held-out pairs and masks are the same in every run."""
_READ_TOGETHER = 512
"""Examples that are built at a time; no number depends on it."""
_MOST_PAIRS = 16_384
"""Pairs of either split that the length-only baseline reads, evenly spread over the split."""
_TRAINING_DRAW = (0, 0)
"""The seed and epoch of the training pairs that the length-only baseline is fitted to."""


class EvaluationBatches(torch.utils.data.Dataset[PretrainBatch]):
    """A held-out split, every pair once, with pairs and masks that never change.

    The masks are BERT's, 15 % of single tokens, whatever those of training: losses stay comparable.
    Each rank gets the same number of batches; together they are the split.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        split: str,
        config: BatchConfig,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        labelers: Mapping[str, Labeler] = LABELERS,
    ) -> None:
        config = replace(config, masking=MaskingConfig())
        self.examples = ExampleBuilder(
            corpus.splits[split], corpus.tokenizer, config, _SEED, labelers
        )
        everything = np.arange(len(self.examples))
        _, self.counts = self.examples.sizes(everything, np.zeros_like(everything), 0.0)
        if len(everything) < world_size:
            raise UserError(
                f"the {split} split has {len(everything)} examples, fewer than the {world_size} "
                f"devices: raise data.{split}_fraction, or use fewer devices"
            )
        # No batch is empty: where they hold one pair each, some hold two instead.
        count = min(-(-len(everything) // (batch_size * world_size)), len(everything) // world_size)
        self.batches = np.array_split(np.array_split(everything, world_size)[rank], count)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> PretrainBatch:
        chosen = self.batches[index]
        return self.examples.build(chosen, np.zeros_like(chosen), 0.0, self.counts)


@dataclass(frozen=True)
class EvaluationContents:
    """The labels of an evaluation set, and its hash."""

    sha256: str
    """Of all inputs and labels: two models with equal hashes were evaluated on the same set."""
    examples: int
    tokens: int
    masked_labels: np.ndarray
    """`(masked,)` the tokens to predict."""
    pair_labels: np.ndarray
    """`(examples,)`, `IGNORE_INDEX` where there is no pair."""


class EvaluationSet:
    """A held-out split as :class:`EvaluationBatches`, and its facts.

    `vocab_size` is the rows of the embedding, for the unigram baseline.

    Raises:
        UserError: the corpus has no such split.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        split: str,
        config: BatchConfig,
        vocab_size: int,
        labelers: Mapping[str, Labeler] = LABELERS,
    ) -> None:
        if split not in corpus.splits:
            raise UserError(
                f"{corpus.origin} has no {split} split, only {', '.join(corpus.splits)}; "
                f"data.{split}_fraction=0.1 holds one out if the text comes without"
            )
        self.corpus = corpus
        self.split = split
        self.config = config
        self.vocab_size = vocab_size
        self.labelers = labelers

    def batches(self, batch_size: int, rank: int = 0, world_size: int = 1) -> EvaluationBatches:
        """Returns the batches of one rank; those of all ranks together are the split."""
        return EvaluationBatches(
            self.corpus, self.split, self.config, batch_size, rank, world_size, self.labelers
        )

    @cached_property
    def contents(self) -> EvaluationContents:
        return read_contents(self._whole[i] for i in range(len(self._whole)))

    @cached_property
    def token_counts(self) -> np.ndarray:
        """How often each token occurs in the training split, `(vocab_size,)`."""
        return self.corpus.splits["train"].counts_of_rows(self.vocab_size)

    @cached_property
    def baselines(self) -> Baselines:
        counts, masked = self.token_counts, self.contents.masked_labels
        pairs = self.contents.pair_labels
        labeled = pairs[pairs != IGNORE_INDEX]
        nsp_loss = nsp_accuracy = None
        if len(labeled):
            frequencies = np.clip(np.bincount(labeled, minlength=2) / len(labeled), 1e-12, 1)
            nsp_loss = float(-(frequencies * np.log(frequencies)).sum())
            nsp_accuracy = float(frequencies.max())
        mlm_accuracy = float((masked == counts.argmax()).mean())
        mlm_loss = float(unigram_nll(counts)[masked].mean())
        unknown = special_id(self.corpus.tokenizer, UNK)
        known = masked[masked != unknown]
        frequent = np.where(np.arange(len(counts)) == unknown, -1, counts).argmax()
        of_known = float((known == frequent).mean()) if len(known) else None
        return Baselines(mlm_loss, mlm_accuracy, nsp_loss, nsp_accuracy, of_known)

    @cached_property
    def label_statistics(self) -> LabelStatistics | None:
        """The length-only baseline of the pair labels; None without labels."""
        train = sample_of(self.corpus.splits["train"])
        training = pair_sampler(train, self.config.pairs, self.config.max_length)
        held_out = self._whole.examples
        index = _spread(len(held_out))
        return label_statistics(
            training.sample(_spread(len(training)), *_TRAINING_DRAW),
            held_out.pairs(index, np.zeros_like(index)),
        )

    @cached_property
    def _whole(self) -> EvaluationBatches:
        return self.batches(_READ_TOGETHER)


def read_contents(batches: Iterable[PretrainBatch]) -> EvaluationContents:
    """Reads and hashes the batches of a whole split.

    The hash is over, in this order, the SHA-256 of each of these numbers of all examples, as
    little-endian int64: lengths, token ids, token types, masked positions (counted over the whole
    split), masked labels and pair labels. It does not depend on the batch size.
    """
    digests = [hashlib.sha256() for _ in range(6)]
    tokens, masked_labels, pair_labels = 0, [], []
    for batch in batches:
        sequences = batch.sequences
        parts = (
            sequences.lengths,
            sequences.token_ids.numpy(),
            sequences.token_type_ids.numpy(),
            batch.masked_positions.numpy() + tokens,
            batch.masked_labels.numpy(),
            batch.nsp_labels.numpy(),
        )
        for digest, part in zip(digests, parts, strict=True):
            digest.update(part.astype("<i8").tobytes())
        tokens += len(sequences.token_ids)
        masked_labels.append(parts[4])
        pair_labels.append(parts[5])
    return EvaluationContents(
        sha256=hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest(),
        examples=sum(map(len, pair_labels)),
        tokens=tokens,
        masked_labels=np.concatenate(masked_labels),
        pair_labels=np.concatenate(pair_labels),
    )


def _spread(size: int) -> np.ndarray:
    """Returns at most `_MOST_PAIRS` of the indices below `size`, evenly spread."""
    return np.linspace(0, size - 1, min(size, _MOST_PAIRS)).astype(np.int64)
