"""Whole words and spans: what is chosen together, cut, and replaced as one."""

from typing import NamedTuple

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_lightning.config import MaskingConfig, MaskingUnit
from bert_lightning.data.masking import (
    LONGEST_SPAN,
    Masked,
    mask_tokens,
    mlm_probability_at,
    number_of_predictions,
)
from bert_lightning.data.randomness import random_bits
from bert_lightning.errors import UserError

ORDINARY = np.arange(5, 50)
FIRST_WORD = 1000
UNITS = st.sampled_from(list(MaskingUnit))
WHOLE = st.sampled_from([MaskingUnit.word, MaskingUnit.span])


class Text(NamedTuple):
    tokens: np.ndarray
    maskable: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray


def text_of(lengths: list[int], share_of_starts: float, key: int) -> Text:
    """Examples `[CLS] a [SEP] b [SEP]` of these lengths, and a few pieces for each word."""
    sizes = np.array(lengths)
    ends = np.cumsum(sizes)
    tokens = np.arange(FIRST_WORD, FIRST_WORD + ends[-1])
    tokens[np.concatenate([ends - sizes, ends - sizes // 2 - 1, ends - 1])] = 3
    starts = np.random.default_rng(key).random(len(tokens)) < share_of_starts
    keys = random_bits(key, np.arange(len(tokens)))
    return Text(tokens, tokens >= FIRST_WORD, starts, sizes, keys)


def masked(text: Text, config: MaskingConfig) -> Masked:
    before = [array.copy() for array in text]
    predictions = number_of_predictions(text.lengths, 3, config.mlm_probability)
    result = mask_tokens(
        text.tokens,
        text.maskable,
        text.lengths,
        predictions,
        text.keys,
        config,
        reference.MASK,
        ORDINARY,
        text.starts,
    )
    assert all(np.array_equal(*arrays) for arrays in zip(before, text, strict=True))
    return result


@st.composite
def texts(draw: st.DrawFn) -> Text:
    lengths = draw(st.lists(st.integers(5, 90), min_size=1, max_size=6))
    text = text_of(
        lengths, draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])), draw(st.integers(0, 2**32))
    )
    few_keys = draw(st.sampled_from([None, 1, 3]))  # so that draws are equal
    return text if few_keys is None else text._replace(keys=text.keys % np.uint64(few_keys))


@settings(max_examples=80, deadline=None)
@given(text=texts(), unit=UNITS, probability=st.floats(0.01, 0.99))
def test_masks_are_those_of_plain_python(text: Text, unit: MaskingUnit, probability: float) -> None:
    config = MaskingConfig(probability, 0.5, 0.3, unit)
    lengths = text.lengths.tolist()
    counts = [min(max(1, round(probability * length)), length - 3) for length in lengths]
    expected = reference.mask(
        text.tokens.tolist(),
        text.starts.tolist(),
        text.maskable.tolist(),
        lengths,
        counts,
        text.keys.tolist(),
        config,
        ORDINARY.tolist(),
    )
    result = masked(text, config)
    assert tuple(part.tolist() for part in result) == expected


@settings(max_examples=100, deadline=None)
@given(text=texts(), unit=UNITS, probability=st.floats(0.01, 0.99))
def test_each_example_has_exactly_its_number_and_no_special_token_is_one(
    text: Text, unit: MaskingUnit, probability: float
) -> None:
    result = masked(text, MaskingConfig(probability, unit=unit))
    example = np.repeat(np.arange(len(text.lengths)), text.lengths)
    counts = np.bincount(example[result.positions], minlength=len(text.lengths))
    assert np.array_equal(counts, number_of_predictions(text.lengths, 3, probability))
    assert text.maskable[result.positions].all()
    assert (np.diff(result.positions) > 0).all()
    assert np.array_equal(result.labels, text.tokens[result.positions])
    untouched = np.delete(np.arange(len(text.tokens)), result.positions)
    assert np.array_equal(result.token_ids[untouched], text.tokens[untouched])


@settings(max_examples=100, deadline=None)
@given(text=texts(), unit=WHOLE, probability=st.floats(0.01, 0.99))
def test_one_word_at_most_of_an_example_is_cut_and_then_at_its_end(
    text: Text, unit: MaskingUnit, probability: float
) -> None:
    chosen = set(masked(text, MaskingConfig(probability, unit=unit)).positions.tolist())
    words = reference.words_of(text.starts.tolist(), text.maskable.tolist(), text.lengths.tolist())
    for stretches in words:
        parts = [[place in chosen for place in word] for words in stretches for word in words]
        assert sum(any(part) and not all(part) for part in parts) <= 1
        assert all(part == sorted(part, reverse=True) for part in parts)


def test_the_pieces_of_a_word_are_replaced_as_one() -> None:
    text = text_of([60] * 500, 0.3, 7)
    result = masked(text, MaskingConfig(0.3, 0.4, 0.3, MaskingUnit.word))
    kinds = np.full(len(text.tokens), -1)
    shown = result.token_ids[result.positions]
    kinds[result.positions] = np.select(
        [shown == reference.MASK, shown == result.labels], [0, 1], 2
    )
    words = [
        word
        for stretches in reference.words_of(
            text.starts.tolist(), text.maskable.tolist(), text.lengths.tolist()
        )
        for words in stretches
        for word in words
    ]
    found = [set(kinds[word].tolist()) - {-1} for word in words if len(word) > 1]
    assert all(len(kind) <= 1 for kind in found)
    assert {0} in found
    assert {1} in found
    assert {2} in found
    random_words = [kinds[word].tolist() == [2] * len(word) and len(word) > 2 for word in words]
    assert any(
        len(set(result.token_ids[word].tolist())) > 1
        for word, is_random in zip(words, random_words, strict=True)
        if is_random
    ), "each piece of a replaced word is drawn for itself"


@pytest.mark.parametrize("unit", list(MaskingUnit))
def test_shares_are_80_10_10_over_a_million_tokens(unit: MaskingUnit) -> None:
    text = text_of([50] * 20_000, 0.6, 11)
    result = masked(text, MaskingConfig(unit=unit))
    shown = result.token_ids[result.positions]
    n = len(shown)
    assert n == 20_000 * 8
    # Tokens of a unit are replaced alike, so there are fewer independent ones: at most the tokens
    # of the longest spans, 10 words of 1.7 pieces, fall together.
    together = {"token": 1, "word": 4, "span": 17}[unit.name]
    for chosen, share in (
        (shown == reference.MASK, 0.8),
        (np.isin(shown, ORDINARY), 0.1),
        (shown == result.labels, 0.1),
    ):
        assert abs(chosen.mean() - share) < 4 * (share * (1 - share) / n * together) ** 0.5
    assert not np.isin(shown, [0, 1, 2, 3]).any()


def test_the_places_of_words_are_chosen_evenly() -> None:
    text = text_of([50] * 20_000, 1.0, 3)
    places = np.bincount(
        masked(text, MaskingConfig(unit=MaskingUnit.word)).positions % 50, minlength=50
    )
    even = places[places > 0]
    assert len(even) == 47
    assert np.abs(even - even.mean()).max() < 5 * even.mean() ** 0.5


def test_spans_have_geometric_lengths_up_to_10_and_3_8_words_in_the_mean() -> None:
    """Of plain Python's spans, which are the package's, as the test of the masks holds."""
    shares = np.array([0.2 * 0.8**k for k in range(LONGEST_SPAN)])
    shares /= shares.sum()
    n = 50_000
    lengths = [reference.span_length((number + 0.5) / n) for number in range(n)]
    assert np.bincount(lengths)[1:] / n == pytest.approx(shares, abs=2 / n)
    assert np.mean(lengths) == pytest.approx(3.8, abs=0.01)


def test_spans_are_longer_runs_than_tokens_by_themselves() -> None:
    def mean_run(unit: MaskingUnit) -> float:
        positions = masked(text_of([128] * 500, 1.0, 9), MaskingConfig(unit=unit)).positions
        return len(positions) / (1 + np.count_nonzero(np.diff(positions) > 1))

    assert mean_run(MaskingUnit.word) < 1.5
    assert 2.5 < mean_run(MaskingUnit.span) < 5


@pytest.mark.parametrize("unit", list(MaskingUnit))
def test_an_example_is_masked_alike_whatever_stands_beside_it(unit: MaskingUnit) -> None:
    text = text_of([30, 12, 57], 0.5, 1)
    alone = Text(*(array[:30] for array in text[:3]), text.lengths[:1], text.keys[:30])
    config = MaskingConfig(unit=unit)
    together, single = masked(text, config), masked(alone, config)
    assert np.array_equal(together.positions[together.positions < 30], single.positions)
    assert np.array_equal(together.token_ids[:30], single.token_ids)


def test_no_span_runs_into_the_next_example() -> None:
    tokens = np.arange(FIRST_WORD, FIRST_WORD + 40)  # no special token between the two
    maskable, starts = np.ones(40, dtype=bool), np.ones(40, dtype=bool)
    for key in range(200):
        keys = random_bits(key, np.arange(40))
        counts = [
            mask_tokens(
                tokens,
                maskable,
                np.array([20, 20]),
                np.array(wanted),
                keys,
                MaskingConfig(unit=MaskingUnit.span),
                reference.MASK,
                ORDINARY,
                starts,
            ).positions
            for wanted in ([5, 7], [5, 1])
        ]
        first, other = (positions[positions < 20].tolist() for positions in counts)
        assert first == other
        assert [len(positions) for positions in counts] == [12, 6]


def test_without_word_starts_every_token_is_a_word() -> None:
    text = text_of([40] * 20, 1.0, 2)
    config = MaskingConfig(unit=MaskingUnit.word)
    predictions = number_of_predictions(text.lengths, 3, 0.15)
    bare = mask_tokens(
        text.tokens, text.maskable, text.lengths, predictions, text.keys, config, 4, ORDINARY
    )
    for other in (masked(text, config), masked(text, MaskingConfig())):
        assert all(np.array_equal(*parts) for parts in zip(bare, other, strict=True))


@pytest.mark.parametrize(
    ("end", "progress", "share"),
    [(None, 0.5, 0.3), (0.15, 0, 0.3), (0.15, 0.5, 0.225), (0.15, 1, 0.15), (0.6, 0.25, 0.375)],
)
def test_the_share_moves_evenly_to_its_end(
    end: float | None, progress: float, share: float
) -> None:
    config = MaskingConfig(0.3, mlm_probability_end=end)
    assert mlm_probability_at(config, progress) == pytest.approx(share, rel=1e-12)


def test_beyond_the_run_the_share_stays_at_its_ends() -> None:
    config = MaskingConfig(0.3, mlm_probability_end=0.15)
    assert [mlm_probability_at(config, at) for at in (-1, 0, 1, 2)] == [0.3, 0.3, 0.15, 0.15]


@pytest.mark.parametrize("end", [0.0, 1.0, -0.1, 1.5])
def test_a_share_at_the_end_outside_0_to_1_is_refused(end: float) -> None:
    with pytest.raises(UserError, match=r"mlm_probability_end=.*above 0 and below 1.*0\.15"):
        MaskingConfig(mlm_probability_end=end)


def test_the_first_token_of_an_example_begins_a_word_whatever_precedes_it() -> None:
    text = Text(
        np.arange(FIRST_WORD, FIRST_WORD + 6),
        np.ones(6, dtype=bool),
        np.zeros(6, dtype=bool),
        np.array([3, 3]),
        random_bits(0, np.arange(6)),
    )
    predictions = np.array([1, 2])
    config = MaskingConfig(unit=MaskingUnit.word)
    found = mask_tokens(
        *text[:2],
        text.lengths,
        predictions,
        text.keys,
        config,
        reference.MASK,
        ORDINARY,
        text.starts,
    )
    assert found.positions.tolist() == [0, 3, 4]


@pytest.mark.parametrize("special", [False, True], ids=["words alone", "after one [CLS]"])
def test_a_span_ends_with_its_example(special: bool) -> None:
    """An example is masked as if it were alone, also where no `[SEP]` ends the one before it."""
    maskable = np.ones(14, dtype=bool)
    maskable[[0, 7]] = not special
    config = MaskingConfig(0.5, unit=MaskingUnit.span)

    def positions(tokens: slice, lengths: list[int], keys: np.ndarray) -> list[int]:
        found = mask_tokens(
            np.arange(FIRST_WORD, FIRST_WORD + 14)[tokens],
            maskable[tokens],
            np.array(lengths),
            np.full(len(lengths), 3),
            keys[tokens],
            config,
            reference.MASK,
            ORDINARY,
            np.ones(14, dtype=bool)[tokens],
        )
        return found.positions.tolist()

    for key in range(50):
        keys = random_bits(key, np.arange(14))
        first, second = positions(slice(0, 7), [7], keys), positions(slice(7, 14), [7], keys)
        together = positions(slice(0, 14), [7, 7], keys)
        assert together == first + [place + 7 for place in second]
