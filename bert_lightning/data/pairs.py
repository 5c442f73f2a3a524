"""Which two segments make an example, and the label of the pair."""

from typing import NamedTuple

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
"""Pairs that are read together in a pass over a whole split."""


class Pairs(NamedTuple):
    """Examples by where their tokens are in the store, all arrays `(pairs,)` int64.

    Each segment is consecutive tokens; in an example without a second one, that has length 0.
    """

    first_start: np.ndarray
    """Where the first segment's tokens start in the split's ids."""
    first_length: np.ndarray
    second_start: np.ndarray
    second_length: np.ndarray
    nsp_labels: np.ndarray
    """`IS_NEXT`, `IS_RANDOM` (in SOP: swapped), or `IGNORE_INDEX` for no pair."""

    @property
    def special(self) -> np.ndarray:
        """The number of `[CLS]` and `[SEP]` tokens of each example."""
        return SPECIAL_TOKENS_IN_A_PAIR - (self.second_length == 0)

    @property
    def lengths(self) -> np.ndarray:
        """The tokens of each example, `[CLS]` and `[SEP]` included."""
        return self.first_length + self.second_length + self.special


def pair_sampler(
    split: Split, config: PairsConfig, max_length: int
) -> "SentencePairs | SegmentPairs | Blocks":
    """Returns the sampler that the config names.

    Its length is the examples of an epoch; `sample` makes those of some indices `(pairs,)`, as a
    function of the keys alone; `overlong` counts consecutive pairs too long for an example.

    Raises:
        UserError: the split has no such examples.
    """
    if config.kind is PairKind.none:
        return Blocks(split, max_length)
    make = SentencePairs if config.kind is PairKind.sentence else SegmentPairs
    sampler = make(split, config, max_length)
    if not len(sampler):
        raise UserError(
            f"pairs={config.kind.value} finds no two sentences that follow each other in "
            f"{split.documents} documents, {split.paragraphs} paragraphs and {split.sentences} "
            "sentences; pairs=none pretrains without pairs"
        )
    if config.task is PairTask.nsp and split.documents < 2:
        raise UserError(
            f"pairs.task=nsp draws a random second half from another document, and there is "
            f"{split.documents} document; add documents, or use pairs.task=sop or pairs=none"
        )
    return sampler


class SentencePairs:
    """The textbook's pairs: two consecutive sentences of a paragraph, or one and a random one.

    With `across_paragraphs` the two are of a document.

    Four sentences in two documents, `a b | c d`, have two pairs of consecutive sentences, `a b` and
    `c d`. A random bit of each pair, seed and epoch makes the example `a b`, labeled `IS_NEXT`, or
    `a c` or `a d`, labeled `IS_RANDOM` (in SOP: `b a`).
    """

    def __init__(self, split: Split, config: PairsConfig, max_length: int) -> None:
        self.split = split
        self.task = config.task
        self.budget = max_length - SPECIAL_TOKENS_IN_A_PAIR
        self.dropped = config.overlong is Overlong.drop
        kept: list[np.ndarray] = []
        self.overlong = 0
        self.parts = split.paragraph_starts
        if config.across_paragraphs:
            self.parts = split.paragraph_starts[split.document_starts]
        self.pairs = split.sentences + 1 - len(self.parts)
        for start in range(0, self.pairs, _CHUNK):
            index = np.arange(start, min(start + _CHUNK, self.pairs))
            first = split.first_sentence(index, self.parts)
            fits = split.sentence_length(first) + split.sentence_length(first + 1) <= self.budget
            self.overlong += int((~fits).sum())
            if self.dropped:
                kept.append(index[fits])
        self.kept = np.concatenate(kept) if kept else None

    def __len__(self) -> int:
        return self.pairs if self.kept is None else len(self.kept)

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        split = self.split
        pair = index if self.kept is None else self.kept[index]
        first = split.first_sentence(pair, self.parts)
        follows = _is_next(index, *keys)
        if self.task is PairTask.sop:
            a, b = _swapped(~follows, first, first + 1)
        else:
            a, b = first, np.where(follows, first + 1, self._random(first, index, *keys))
        lengths = cut_to_fit(split.sentence_length(a), split.sentence_length(b), self.budget)
        labels = np.where(b == a + 1, IS_NEXT, IS_RANDOM)
        starts = split.sentence_starts
        return Pairs(starts[a], lengths[0], starts[b], lengths[1], labels)

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

    A document is split wherever its tokens reach a multiple of the room in an example; a part of
    one sentence joins the part before it, or at a document's start the one after it. A fraction of
    the examples is cut to a random shorter length (Devlin et al., 2019, appendix A.2).

    One document of four sentences of 3 tokens each, `a b c d`, with room for 6 tokens, has two
    parts, `a b` and `c d`; with room for 7, `a b c` and the lone `d`, which joins: `a b c d`. A
    part is cut at a random sentence, `a | b c d`; then, by a random bit, its second half stays or
    is replaced by text that starts at a random sentence of another document.
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
            first, second = _swapped(~follows, first, second)
            first_length, second_length = _swapped(~follows, first_length, second_length)
            labels = np.where(first < second, IS_NEXT, IS_RANDOM)
        return Pairs(first, first_length, second, second_length, labels)

    def _target_length(self, index: np.ndarray, *keys: Keys) -> np.ndarray:
        short = uniform(random_bits(*keys, Stream.short, index)) < self.short_seq_prob
        length = 2 + integers_below(random_bits(*keys, Stream.short_length, index), self.budget - 1)
        return np.where(short, length, self.budget)


class Blocks:
    """No pairs: each document in blocks that fill an example, for masked tokens alone."""

    def __init__(self, split: Split, max_length: int) -> None:
        self.room = max_length - 2
        self.overlong = 0
        bounds = split.sentence_starts[split.paragraph_starts[split.document_starts]]
        self.starts, self.ends = bounds[:-1], bounds[1:]
        blocks = -(-(self.ends - self.starts) // self.room)
        self.blocks_before = np.concatenate([[0], np.cumsum(blocks)])

    def __len__(self) -> int:
        return int(self.blocks_before[-1])

    def sample(self, index: np.ndarray, *keys: Keys) -> Pairs:
        document = np.searchsorted(self.blocks_before, index, side="right") - 1
        start = self.starts[document] + (index - self.blocks_before[document]) * self.room
        length = np.minimum(self.room, self.ends[document] - start)
        nothing = np.zeros_like(start)
        return Pairs(start, length, start, nothing, nothing + IGNORE_INDEX)


def cut_to_fit(
    a: np.ndarray, b: np.ndarray, budget: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the longer of each two lengths until both fit; of equals, the second.

    >>> a, b = cut_to_fit(np.array([4, 5, 1]), np.array([4, 2, 9]), budget=6)
    >>> a.tolist(), b.tolist()
    ([3, 4, 1], [3, 2, 5])
    """
    half = budget // 2
    a_most, b_most = np.maximum(budget - b, budget - half), np.maximum(budget - a, half)
    return np.minimum(a, a_most), np.minimum(b, b_most)


def sentence_of_another_document(split: Split, first: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Draws with equal probability from all sentences outside the document of each first one.

    Four sentences in three documents, `a | b c | d`: for the first sentence `b`, the sentences
    outside its document are numbered `a` 0 and `d` 1. A number below the document's start is the
    sentence itself, and any other one skips the document: 1 + 2 is `d`.
    """
    start, end = split.document_bounds(first)
    drawn = integers_below(bits, split.sentences - (end - start))
    return np.where(drawn < start, drawn, drawn + (end - start))


def _swapped(where: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(where, b, a), np.where(where, a, b)


def _is_next(index: np.ndarray, *keys: Keys) -> np.ndarray:
    return (random_bits(*keys, Stream.is_next, index) & np.uint64(1)).astype(bool)


def _parts(split: Split, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns where each part starts and ends, in sentences: at least two of one document."""
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
    # A lone sentence joins the part before it, and at a document's start the one after it.
    joins = ~of_document
    joins[:-1] &= alone
    joins[-1] = False
    joins[1:] |= alone & of_document[:-1] & ~of_document[1:]
    begins = begins[~joins]
    starts, ends = begins[:-1], begins[1:]
    whole = ends - starts >= 2
    return starts[whole], ends[whole]
