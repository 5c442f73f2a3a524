"""Which tokens are predicted, and what stands in their place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_lightning.config import MaskingConfig
from bert_lightning.data.masking import Masked, mask_tokens, number_of_predictions
from bert_lightning.data.randomness import random_bits

MASK_ID = 4
ORDINARY = np.arange(5, 50)
FIRST_WORD = 1000
"""Tokens of the tests stand outside `ORDINARY`, so a random word never equals what it replaced."""


def mask(
    lengths: list[int], key: int = 0, config: MaskingConfig | None = None
) -> tuple[np.ndarray, np.ndarray, Masked]:
    """Masks examples `[CLS] a [SEP] b [SEP]` of these lengths; every word has its own id."""
    config = config or MaskingConfig()
    sizes = np.array(lengths)
    ends = np.cumsum(sizes)
    tokens = np.arange(FIRST_WORD, FIRST_WORD + ends[-1])
    special = np.concatenate([ends - sizes, ends - sizes // 2 - 1, ends - 1])
    tokens[special] = np.repeat([2, 3, 3], len(sizes))
    maskable = tokens >= FIRST_WORD
    predictions = number_of_predictions(sizes, 3, config.mlm_probability)
    keys = random_bits(key, np.arange(len(tokens)))
    before = tokens.copy()
    masked = mask_tokens(tokens, maskable, sizes, predictions, keys, config, MASK_ID, ORDINARY)
    assert np.array_equal(tokens, before), "the input was changed"
    return tokens, maskable, masked


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 140), min_size=1, max_size=12),
    key=st.integers(0, 2**32),
)
def test_each_example_has_its_number_of_predictions_and_no_special_token_is_one(
    lengths: list[int], key: int
) -> None:
    tokens, maskable, masked = mask(lengths, key)
    start = 0
    for length in lengths:
        inside = (masked.positions >= start) & (masked.positions < start + length)
        assert inside.sum() == max(1, round(0.15 * length))
        start += length
    assert maskable[masked.positions].all()
    assert (np.diff(masked.positions) > 0).all()
    assert np.array_equal(masked.labels, tokens[masked.positions])
    untouched = np.ones(len(tokens), dtype=bool)
    untouched[masked.positions] = False
    assert np.array_equal(masked.token_ids[untouched], tokens[untouched])
    shown = masked.token_ids[masked.positions]
    assert ((shown == MASK_ID) | (shown == masked.labels) | np.isin(shown, ORDINARY)).all()


@settings(max_examples=40, deadline=None)
@given(length=st.integers(3, 512), probability=st.floats(0.001, 0.999))
def test_predictions_are_at_least_one_and_never_more_than_the_words(
    length: int, probability: float
) -> None:
    (count,) = number_of_predictions(np.array([length]), 3, probability)
    assert count == min(max(1, round(length * probability)), length - 3)


def test_shares_are_80_10_10_over_a_million_tokens() -> None:
    tokens, _, masked = mask([40] * 25_000)
    assert len(tokens) == 1_000_000
    shown = masked.token_ids[masked.positions]
    n = len(shown)
    assert n == 150_000
    for chosen, share in (
        (shown == MASK_ID, 0.8),
        (np.isin(shown, ORDINARY), 0.1),
        (shown == masked.labels, 0.1),
    ):
        assert abs(chosen.mean() - share) < 5 * (share * (1 - share) / n) ** 0.5
    words = np.bincount(shown[np.isin(shown, ORDINARY)], minlength=ORDINARY[-1] + 1)[5:]
    assert words.min() > 0
    assert np.abs(words - words.mean()).max() < 5 * words.mean() ** 0.5
    places = np.bincount(masked.positions % 40, minlength=40)
    assert np.flatnonzero(places == 0).tolist() == [0, 19, 39]
    even = places[places > 0]
    assert np.abs(even - even.mean()).max() < 5 * even.mean() ** 0.5


@pytest.mark.parametrize(("shares", "kind"), [((1, 0), 0), ((0, 1), 1), ((0, 0), 2)])
def test_a_share_of_one_is_all(shares: tuple[float, float], kind: int) -> None:
    _, _, masked = mask([50] * 200, config=MaskingConfig(0.3, *shares))
    shown = masked.token_ids[masked.positions]
    kinds = (shown == MASK_ID, np.isin(shown, ORDINARY), shown == masked.labels)
    assert kinds[kind].all()


def test_equal_keys_give_equal_masks_and_other_keys_others() -> None:
    one, same, other = (mask([30] * 50, key)[2] for key in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.positions, other.positions)
    assert not np.array_equal(one.token_ids, other.token_ids)


def test_an_example_is_masked_alike_whatever_stands_beside_it() -> None:
    _, _, together = mask([30, 12, 57])
    _, _, alone = mask([30])
    first = together.positions < 30
    assert np.array_equal(together.positions[first], alone.positions)
    assert np.array_equal(together.token_ids[:30], alone.token_ids)


def test_of_equal_draws_the_first_positions_are_chosen() -> None:
    tokens = np.arange(FIRST_WORD, FIRST_WORD + 10)
    maskable = np.ones(10, dtype=bool)
    maskable[[0, 4, 9]] = False
    keys = np.zeros(10, dtype=np.uint64)
    masked = mask_tokens(
        tokens, maskable, np.array([10]), np.array([3]), keys, MaskingConfig(), MASK_ID, ORDINARY
    )
    assert masked.positions.tolist() == [1, 2, 3]
