"""Random numbers: even, independent, and a function of their keys alone."""

import itertools

import numpy as np
import pytest
import reference

from bert_lightning.data.randomness import (
    Stream,
    integers_below,
    permuted,
    random_bits,
    torch_seed,
    uniform,
)

MANY = np.arange(200_000)


def chi_square_excess(counts: np.ndarray) -> float:
    """How many standard deviations the chi-square statistic lies above its mean."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


def test_bits_are_splitmix64_of_the_keys() -> None:
    # The first outputs of the published generator from seed 0.
    assert random_bits(0).tolist() == [0xE220A8397B1DCDAF]
    assert random_bits(0x9E3779B97F4A7C15).tolist() == [0x6E789E6AA1B965F4]


def test_bits_and_numbers_agree_with_plain_python() -> None:
    keys = [(0,), (1, 2, 3), (2**32, 5), (2**64 - 1, 0, 2**63)]
    for key in keys:
        assert random_bits(*np.array(key, dtype=np.uint64)).tolist() == [reference.bits(*key)]
    draws = random_bits(7, np.arange(50))
    assert uniform(draws).tolist() == [reference.uniform(reference.bits(7, i)) for i in range(50)]
    for limit in (1, 3, 1000, 2**32):
        expected = [reference.below(reference.bits(7, i), limit) for i in range(50)]
        assert integers_below(draws, limit).tolist() == expected


def test_scalar_and_array_keys_agree_and_broadcast() -> None:
    together = random_bits(3, np.arange(20), Stream.masked)
    assert together.tolist() == [int(random_bits(3, i, Stream.masked)[0]) for i in range(20)]
    grid = random_bits(np.arange(4)[:, None], np.arange(5)[None])
    assert [[reference.bits(i, j) for j in range(5)] for i in range(4)] == grid.tolist()


def test_the_order_and_number_of_keys_matter() -> None:
    variants = [(1, 2), (2, 1), (1,), (2,), (1, 2, 0), (0, 1, 2), (1, 2, 1)]
    assert len({int(random_bits(*keys)[0]) for keys in variants}) == len(variants)


def test_each_purpose_has_a_stream_of_its_own_whose_number_never_changes() -> None:
    streams = ["order", "is_next", "second_sentence", "masked", "replacement", "random_word"]
    streams += ["weights", "dropout", "cut", "short", "short_length", "span_length"]
    streams += ["labelled", "word_vectors", "sampled_words"]
    assert {stream.name: stream.value for stream in Stream} == {
        name: number for number, name in enumerate(streams)
    }


def test_seeds_of_torch_are_the_63_lowest_bits() -> None:
    keys = [(seed, stream, step) for seed in (0, 7) for stream in Stream for step in range(20)]
    assert [torch_seed(*key) for key in keys] == [reference.bits(*key) % 2**63 for key in keys]
    assert any(reference.bits(*key) >= 2**63 for key in keys)


def test_uniform_has_the_mean_and_variance_of_the_unit_interval() -> None:
    draws = uniform(random_bits(11, MANY))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 1 / 2) < 5 * (1 / 12 / len(MANY)) ** 0.5
    assert abs(draws.var() - 1 / 12) < 5 * (1 / 180 / len(MANY)) ** 0.5
    assert uniform(np.array([2**64 - 1], dtype=np.uint64))[0] < 1


@pytest.mark.parametrize("limit", [2, 7, 1000])
def test_integers_are_even_below_the_limit(limit: int) -> None:
    drawn = integers_below(random_bits(5, MANY), limit)
    assert drawn.min() >= 0
    assert drawn.max() < limit
    assert abs(chi_square_excess(np.bincount(drawn, minlength=limit))) < 5


def test_every_bit_is_even() -> None:
    draws = random_bits(0, MANY)
    share = [((draws >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    assert np.abs(np.array(share) - 0.5).max() < 5 * 0.5 / len(MANY) ** 0.5


def test_streams_and_neighbouring_keys_are_uncorrelated() -> None:
    series = [uniform(random_bits(1, stream, MANY)) for stream in Stream]
    series += [uniform(random_bits(seed, Stream.order, MANY)) for seed in (0, 2)]
    series += [np.roll(series[0], 1)]
    for a, b in itertools.combinations(series, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5.5 / len(MANY) ** 0.5


def test_permuted_is_a_permutation_of_every_size() -> None:
    for size in [*range(1, 301), 59_135]:
        image = permuted(np.arange(size), size, 4, size)
        assert np.array_equal(np.sort(image), np.arange(size)), size


def test_permuted_agrees_with_plain_python_and_with_itself_index_by_index() -> None:
    for size in (1, 2, 5, 16, 17, 100):
        image = permuted(np.arange(size), size, 9, Stream.order, 3)
        expected = [reference.permuted(i, size, 9, reference.ORDER, 3) for i in range(size)]
        assert image.tolist() == expected
        assert permuted(np.array([size - 1]), size, 9, Stream.order, 3)[0] == expected[-1]


def test_permutations_of_different_keys_differ_and_are_even() -> None:
    size = 10
    images = np.stack([permuted(np.arange(size), size, 1, key) for key in range(1000)])
    for place in range(size):
        assert abs(chi_square_excess(np.bincount(images[:, place], minlength=size))) < 5
    assert len({tuple(row) for row in images.tolist()}) > 990
