"""Which two segments make an example, and the label of their relation."""

from typing import NamedTuple, Protocol

import numpy as np

from bert_lightning.batch import IGNORE_INDEX, IS_NEXT, IS_RANDOM
from bert_lightning.config import Overlong, PairKind, PairsConfig, PairTask
from bert_lightning.corpus.store import Split
from bert_lightning.data.randomness import Keys, Stream, integers_below, random_bits, uniform
from bert_lightning.errors import UserError

SPECIAL_TOKENS_IN_A_PAIR = 3
"""`[CLS]`, and a `[SEP]` after each segment."""

_REDRAWS = 8
"""How often a random second sentence that does not fit is drawn again before it is cut."""


_CHUNK = 1 << 20
"""Pairs that are looked at together when a whole split is gone through."""


class Pairs(NamedTuple):
    """Examples by their places in the store, all arrays `(pairs,)` int64.

    Each segment is a run of tokens; an example without a second one has its length 0.
    """

    first_start: np.ndarray
    """Where the first segment's tokens start in the split's ids."""
    first_length: np.ndarray
    second_start: np.ndarray
    second_length: np.ndarray
    nsp_labels: np.ndarray
    """`IS_NEXT`, `IS_RANDOM` (in the sop task: swapped), or `IGNORE_INDEX` for no pair."""

    @property
    def special(self) -> np.ndarray:
        """`[CLS]` and `[SEP]` tokens of each example."""
        return SPECIAL_TOKENS_IN_A_PAIR - (self.second_length == 0)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, `[CLS]` and `[SEP]` included."""
        return self.first_length + self.second_length + self.special


class PairSampler(Protocol):
    """Makes examples of a split; which one an index means is a function of the keys alone."""

    overlong: int
    """Consecutive pairs of the split that do not fit into an example whole."""

    def __len__(self) -> int:
        """Examples of an epoch."""
        ...

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        """The examples `(pairs,)` of these indices; `keys` name the draw."""
        ...


def pair_sampler(split: Split, config: PairsConfig, max_length: int) -> PairSampler:
    """The sampler that the config asks for.

    Raises:
        UserError: where the split has nothing to make such examples of.
    """
    match config.kind:
        case PairKind.sentence:
            sampler: PairSampler = SentencePairs(split, config, max_length)
        case PairKind.segment:
            sampler = SegmentPairs(split, config, max_length)
        case PairKind.none:
            return Blocks(split, max_length)
    if not len(sampler):
        raise UserError(
            f"pairs={config.kind.value} finds no two sentences that follow each other in "
            f"{split.documents} documents, {split.paragraphs} paragraphs and {split.sentences} "
            "sentences; pairs=none pre-trains without pairs"
        )
    if config.task is PairTask.nsp and split.documents < 2:
        raise UserError(
            f"pairs.task=nsp draws a random second half from another document, and there is "
            f"{split.documents} document; give more, or use pairs.task=sop or pairs=none"
        )
    return sampler


class SentencePairs:
    """The textbook's pairs: two consecutive sentences of a paragraph, or one and a random one."""

    def __init__(self, split: Split, config: PairsConfig, max_length: int) -> None:
        self.split = split
        self.task = config.task
        self.budget = max_length - SPECIAL_TOKENS_IN_A_PAIR
        self.dropped = config.overlong is Overlong.drop
        kept: list[np.ndarray] = []
        self.overlong = 0
        for start in range(0, split.pairs, _CHUNK):
            index = np.arange(start, min(start + _CHUNK, split.pairs))
            first = split.first_sentence(index)
            fits = split.sentence_length(first) + split.sentence_length(first + 1) <= self.budget
            self.overlong += int((~fits).sum())
            if self.dropped:
                kept.append(index[fits])
        self.kept = np.concatenate(kept) if kept else None

    def __len__(self) -> int:
        return self.split.pairs if self.kept is None else len(self.kept)

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        split = self.split
        first = split.first_sentence(index if self.kept is None else self.kept[index])
        follows = _is_next(index, *keys)
        if self.task is PairTask.sop:
            a, b = np.where(follows, first, first + 1), np.where(follows, first + 1, first)
        else:
            a, b = first, np.where(follows, first + 1, self._random(first, index, *keys))
        a_length, b_length = cut_to_fit(
            split.sentence_length(a), split.sentence_length(b), self.budget
        )
        labels = np.where(b == a + 1, IS_NEXT, IS_RANDOM)
        return Pairs(split.sentence_starts[a], a_length, split.sentence_starts[b], b_length, labels)

    def _random(self, first: np.ndarray, index: np.ndarray, *keys: Keys) -> np.ndarray:
        bits = random_bits(*keys, Stream.second_sentence, index)
        second = sentence_of_another_document(self.split, first, bits)
        if self.dropped:
            room = self.budget - self.split.sentence_length(first)
            for attempt in range(_REDRAWS):
                again = sentence_of_another_document(self.split, first, random_bits(bits, attempt))
                second = np.where(self.split.sentence_length(second) > room, again, second)
        return second


class SegmentPairs:
    """Original BERT's pairs: runs of sentences that fill an example, in two at a random sentence.

    A document is parted where its tokens reach a multiple of the room in an example; a part of one
    sentence joins the part before it, or the one after at a document's start. A share of the
    examples is cut to a random shorter length (Devlin et al., 2019, appendix A.2).
    """

    def __init__(self, split: Split, config: PairsConfig, max_length: int) -> None:
        self.split = split
        self.task = config.task
        self.short_seq_prob = config.short_seq_prob
        self.budget = max_length - SPECIAL_TOKENS_IN_A_PAIR
        self.starts, self.ends = _parts(split, self.budget)
        tokens = split.sentence_starts[self.ends] - split.sentence_starts[self.starts]
        self.overlong = int((tokens > self.budget).sum())

    def __len__(self) -> int:
        return len(self.starts)

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        split, starts = self.split, self.split.sentence_starts
        start, end = self.starts[index], self.ends[index]
        target = self._target_length(index, *keys)
        cut = integers_below(random_bits(*keys, Stream.cut, index), end - start - 1)
        middle = start + 1 + cut
        first, first_length = starts[start], starts[middle] - starts[start]
        second, second_length = starts[middle], starts[end] - starts[middle]
        follows = _is_next(index, *keys)
        if self.task is PairTask.nsp:
            bits = random_bits(*keys, Stream.second_sentence, index)
            other = sentence_of_another_document(split, start, bits)
            _, document_end = split.document_bounds(other)
            second = np.where(follows, second, starts[other])
            room = np.maximum(1, target - first_length)
            rest = np.minimum(starts[document_end] - starts[other], room)
            second_length = np.where(follows, second_length, rest)
        first_length, second_length = cut_to_fit(first_length, second_length, target)
        labels = np.where(second == first + (starts[middle] - starts[start]), IS_NEXT, IS_RANDOM)
        if self.task is PairTask.sop:
            first, second = np.where(follows, first, second), np.where(follows, second, first)
            first_length, second_length = (
                np.where(follows, first_length, second_length),
                np.where(follows, second_length, first_length),
            )
            labels = np.where(first < second, IS_NEXT, IS_RANDOM)
        return Pairs(first, first_length, second, second_length, labels)

    def _target_length(self, index: np.ndarray, *keys: Keys) -> np.ndarray:
        short = uniform(random_bits(*keys, Stream.short, index)) < self.short_seq_prob
        length = 2 + integers_below(random_bits(*keys, Stream.short_length, index), self.budget - 1)
        return np.where(short, length, self.budget)


class Blocks:
    """No pairs: each document's text in blocks that fill an example, for masked tokens only."""

    def __init__(self, split: Split, max_length: int) -> None:
        self.room = max_length - 2
        self.overlong = 0
        bounds = split.sentence_starts[split.paragraph_starts[split.document_starts]]
        self.starts = bounds[:-1]
        self.ends = bounds[1:]
        blocks = -(-(self.ends - self.starts) // self.room)
        self.blocks_before = np.concatenate([[0], np.cumsum(blocks)])

    def __len__(self) -> int:
        return int(self.blocks_before[-1])

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        document = np.searchsorted(self.blocks_before, index, side="right") - 1
        start = self.starts[document] + (index - self.blocks_before[document]) * self.room
        length = np.minimum(self.room, self.ends[document] - start)
        nothing = np.zeros_like(start)
        return Pairs(start, length, start, nothing, np.full_like(start, IGNORE_INDEX))


def cut_to_fit(
    a: np.ndarray, b: np.ndarray, budget: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths after cutting the longer of each two until both fit; of equals, the second."""
    half = budget // 2
    return (
        np.minimum(a, np.maximum(budget - b, budget - half)),
        np.minimum(b, np.maximum(budget - a, half)),
    )


def sentence_of_another_document(split: Split, first: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Draws evenly from all sentences outside the document of each first one."""
    start, end = split.document_bounds(first)
    drawn = integers_below(bits, split.sentences - (end - start))
    return np.where(drawn < start, drawn, drawn + (end - start))


def _is_next(index: np.ndarray, *keys: Keys) -> np.ndarray:
    return (random_bits(*keys, Stream.is_next, index) & np.uint64(1)).astype(bool)


def _parts(split: Split, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each part starts and ends, in sentences: at least two of one document."""
    documents = split.paragraph_starts[split.document_starts]
    tokens = split.sentence_starts[documents]
    first = np.repeat(tokens[:-1], np.diff(documents))  # (sentences,) of each one's document
    window = (split.sentence_starts[:-1] - first) // budget
    starts_document = np.zeros(split.sentences, dtype=bool)
    starts_document[documents[:-1]] = True
    opens = starts_document | (np.diff(window, prepend=-1) != 0)
    begins = np.append(np.flatnonzero(opens), split.sentences)
    alone = np.diff(begins) == 1
    of_document = np.append(starts_document, True)[begins]
    # A lone sentence joins what stands before it, and at a document's start what stands behind.
    joins = ~of_document
    joins[:-1] &= alone
    joins[-1] = False
    joins[1:] |= alone & of_document[:-1] & ~of_document[1:]
    begins = begins[~joins]
    starts, ends = begins[:-1], begins[1:]
    whole = ends - starts >= 2
    return starts[whole], ends[whole]
