"""Which two sentences make an example, and whether the second follows the first."""

from typing import NamedTuple

import numpy as np

from bert_lightning.batch import IS_NEXT, IS_RANDOM
from bert_lightning.data.randomness import Keys, Stream, integers_below, random_bits
from bert_lightning.data.store import Split

SPECIAL_TOKENS_IN_A_PAIR = 3
"""`[CLS]`, and a `[SEP]` after each sentence."""


class Pairs(NamedTuple):
    """Sentence pairs by their places in the store, all arrays `(pairs,)` int64."""

    first_start: np.ndarray
    """Where the first sentence's tokens start in the split's ids."""
    first_length: np.ndarray
    second_start: np.ndarray
    second_length: np.ndarray
    nsp_labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, `[CLS]` and `[SEP]` included."""
        return self.first_length + self.second_length + SPECIAL_TOKENS_IN_A_PAIR


def sample_pairs(split: Split, index: np.ndarray, max_length: int, *keys: Keys) -> Pairs:
    """Pairs each sentence with the one after it or, for half of them, with one from elsewhere.

    Args:
        split: the corpus split.
        index: `(pairs,)` which of the split's consecutive pairs gives the first sentence.
        max_length: tokens an example may have; the longer sentence is cut until it fits.
        keys: what the draws depend on, besides `index`.
    """
    first = split.first_sentence(index)
    draws = random_bits(*keys, Stream.second_sentence, index)
    follows = (random_bits(*keys, Stream.is_next, index) & np.uint64(1)).astype(bool)
    second = np.where(follows, first + 1, _sentence_of_another_document(split, first, draws))

    budget = max_length - SPECIAL_TOKENS_IN_A_PAIR
    first_length, second_length = cut_to_fit(
        split.sentence_length(first), split.sentence_length(second), budget
    )
    return Pairs(
        split.sentence_starts[first],
        first_length,
        split.sentence_starts[second],
        second_length,
        np.where(second == first + 1, IS_NEXT, IS_RANDOM),
    )


def cut_to_fit(a: np.ndarray, b: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths after cutting the longer of each two until both fit; of equals, the second."""
    half = budget // 2
    return (
        np.minimum(a, np.maximum(budget - b, budget - half)),
        np.minimum(b, np.maximum(budget - a, half)),
    )


def _sentence_of_another_document(split: Split, first: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Draws evenly from all sentences outside the document of each first one."""
    start, end = split.document_bounds(first)
    drawn = integers_below(bits, split.sentences - (end - start))
    return np.where(drawn < start, drawn, drawn + (end - start))
