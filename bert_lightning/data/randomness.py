"""Counter-based random numbers: a function of their keys, with no state to keep or replay.

Each number is the SplitMix64 finaliser (Steele, Lea and Flood, 2014) applied to one key after the
other, so that the draw of an example depends on its own name alone: not on the batch it came in,
the worker that built it, or what was drawn before.
"""

from enum import IntEnum

import numpy as np

Keys = int | np.ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_HALF = np.uint64(32)


class Stream(IntEnum):
    """What a number is drawn for; numbers of different streams are independent."""

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


def random_bits(*keys: Keys) -> np.ndarray:
    """64 random bits for each tuple of keys; the keys broadcast, and at least one axis results."""
    state = np.zeros(1, dtype=np.uint64)
    for key in keys:
        state = with_key(state, key)
    return state


def with_key(bits: np.ndarray, key: Keys) -> np.ndarray:
    """`random_bits(*keys, key)`, given the bits of `random_bits(*keys)`."""
    return _mix((bits ^ np.atleast_1d(np.asarray(key, dtype=np.uint64))) + _GOLDEN)


def uniform(bits: np.ndarray) -> np.ndarray:
    """Random bits as float64 in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers_below(bits: np.ndarray, limit: Keys) -> np.ndarray:
    """Random bits as int64 in [0, limit), `limit` at most 2³² (Lemire's multiplication)."""
    scaled = (bits >> _HALF) * np.asarray(limit, dtype=np.uint64)
    return (scaled >> _HALF).astype(np.int64)


def permuted(index: np.ndarray, size: int, *keys: Keys) -> np.ndarray:
    """Where a random permutation of `range(size)` sends each `index`; one permutation a key.

    A Feistel network on the smallest power of four that holds `size`, walked until the result lies
    inside (Black and Rogaway, 2002): no array of the whole permutation is made.
    """
    half_bits = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    low = (np.uint64(1) << half_bits) - np.uint64(1)
    turns = random_bits(random_bits(*keys), np.arange(6))
    result = index.astype(np.uint64)
    outside = np.ones(index.shape, dtype=bool)
    while outside.any():
        left, right = result[outside] >> half_bits, result[outside] & low
        for turn in turns:
            left, right = right, left ^ (with_key(turn, right) & low)
        result[outside] = (left << half_bits) | right
        outside = result >= size
    return result.astype(np.int64)


def _mix(state: np.ndarray) -> np.ndarray:
    """Mixes the numbers in place, as fresh memory for each turn would cost more than the turn."""
    state ^= state >> _SHIFT_1
    state *= _MIX_1
    state ^= state >> _SHIFT_2
    state *= _MIX_2
    state ^= state >> _SHIFT_3
    return state


def torch_seed(*keys: int) -> int:
    """A seed for torch's generators, which take 63 bits."""
    return int(random_bits(*keys)[0] & np.uint64(2**63 - 1))
