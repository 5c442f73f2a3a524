"""Counter-based random numbers: a function of their keys, without a state to save or replay.

Each number is the SplitMix64 finalizer (Steele, Lea and Flood, 2014) applied to one key after the
other. So the draw of an example depends on its own keys alone, and not on its batch, on the worker
that built it, or on earlier draws.
"""

from enum import IntEnum

import numpy as np

Keys = int | np.ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_HALF = np.uint64(32)


class Stream(IntEnum):
    """The purpose of a number; numbers of different streams are independent."""

    order = 0
    is_next = 1
    second_sentence = 2
    masked = 3
    replacement = 4
    random_word = 5
    weights = 6
    dropout = 7
    cut = 8
    short = 9
    short_length = 10
    span_length = 11
    labelled = 12
    word_vectors = 13
    sampled_words = 14


def random_bits(*keys: Keys) -> np.ndarray:
    """Returns 64 random bits for each tuple of keys, which broadcast to at least one axis."""
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        state = with_key(state, key)
    return state


def with_key(bits: np.ndarray, key: Keys) -> np.ndarray:
    """Returns `random_bits(*keys, key)`, given the bits of `random_bits(*keys)`."""
    state = (bits ^ np.atleast_1d(np.asarray(key, dtype=np.uint64))) + _GOLDEN
    state ^= state >> _SHIFT_1  # in place: new memory for each operation would cost more than it
    state *= _MIX_1
    state ^= state >> _SHIFT_2
    state *= _MIX_2
    state ^= state >> _SHIFT_3
    return state


def uniform(bits: np.ndarray) -> np.ndarray:
    """Turns random bits into float64 in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers_below(bits: np.ndarray, limit: Keys) -> np.ndarray:
    """Turns random bits into int64 in [0, limit), for `limit` ≤ 2³² (Lemire's multiplication)."""
    scaled = (bits >> _HALF) * np.asarray(limit, dtype=np.uint64)
    return (scaled >> _HALF).astype(np.int64)


def permuted(index: np.ndarray, size: int, *keys: Keys) -> np.ndarray:
    """Maps each `index` by a random permutation of `range(size)`; the keys choose it.

    A Feistel network on the smallest power of four that holds `size` is applied until the result
    is below `size` (Black and Rogaway, 2002), so the permutation never exists as an array.
    """
    half_bits = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    low = (np.uint64(1) << half_bits) - np.uint64(1)
    rounds = random_bits(random_bits(*keys), np.arange(6))
    result = index.astype(np.uint64)
    outside = np.ones(index.shape, dtype=bool)
    while outside.any():
        left, right = result[outside] >> half_bits, result[outside] & low
        for round_key in rounds:
            left, right = right, left ^ (with_key(round_key, right) & low)
        result[outside] = (left << half_bits) | right
        outside = result >= size
    return result.astype(np.int64)


def torch_seed(*keys: int) -> int:
    """Returns a seed for torch's generators, which take 63 bits."""
    return int(random_bits(*keys)[0] & np.uint64(2**63 - 1))
