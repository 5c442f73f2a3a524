"""Word vectors of co-occurrences against plain loops and a full decomposition."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.pretrained.cooccurrence import (
    WINDOW,
    cooccurrence_vectors,
    mutual_information,
    neighbors,
)

VOCAB = 9
SENTENCES = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9), min_size=1)


def flat(sentences: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([token for sentence in sentences for token in sentence], np.uint16)
    return ids, np.cumsum([0, *map(len, sentences)])


def by_hand(sentences: list[list[int]]) -> dict[tuple[int, int], float]:
    counts = Counter[tuple[int, int]]()
    for sentence in sentences:
        for place, word in enumerate(sentence):
            for other, neighbor in enumerate(sentence):
                if 0 < abs(place - other) <= WINDOW:
                    counts[word, neighbor] += 1 / abs(place - other)  # type: ignore[assignment]
    return dict(counts)


@given(sentences=SENTENCES)
def test_neighbors_and_their_information_are_those_of_plain_loops(
    sentences: list[list[int]],
) -> None:
    found = neighbors(*flat(sentences), VOCAB)
    expected = by_hand(sentences)
    pairs = zip(found.word.tolist(), found.neighbor.tolist(), strict=True)
    counted = dict(zip(pairs, found.weight.tolist(), strict=True))
    assert counted.keys() == expected.keys()
    assert all(math.isclose(counted[pair], expected[pair]) for pair in expected)

    of_word = [
        sum(expected.get((word, other), 0) for other in range(VOCAB)) for word in range(VOCAB)
    ]
    smoothed = [count**0.75 for count in of_word]
    dense = mutual_information(found, VOCAB).to_dense()
    for word in range(VOCAB):
        for other in range(VOCAB):
            together = expected.get((word, other), 0)
            if together:
                by_chance = of_word[word] * smoothed[other] / sum(smoothed)
                right = max(0.0, math.log(together / by_chance))
            else:
                right = 0.0
            assert math.isclose(dense[word, other], right, abs_tol=1e-5)


def test_vectors_have_the_inner_products_of_the_full_decomposition() -> None:
    generator = np.random.default_rng(0)
    sentences = generator.zipf(1.3, (400, 12)) % 30
    information = mutual_information(neighbors(*flat(sentences.tolist()), 40), 40)
    words, vectors = cooccurrence_vectors(information, 8, seed=1)
    assert words.tolist() == np.unique(sentences).tolist()
    assert vectors.shape == (30, 8)
    assert torch.allclose(vectors.mean(0), torch.zeros(8), atol=1e-5)
    assert math.isclose(vectors.square().mean(), 1, abs_tol=1e-5)

    left, values, _ = torch.linalg.svd(information.to_dense())
    directions = (left[:, :8] * values[:8].sqrt())[words]
    directions = (directions - directions.mean(0)) / directions.std(0, correction=0)
    assert torch.allclose(vectors @ vectors.T, directions @ directions.T, atol=0.02)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_vectors_do_not_depend_on_the_threads(threads: int) -> None:
    generator = np.random.default_rng(0)
    sentences = (generator.zipf(1.2, (4000, 12)) % 2000).tolist()
    information = mutual_information(neighbors(*flat(sentences), 2000), 2000)
    expected = cooccurrence_vectors(information, 64, seed=1)[1]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = cooccurrence_vectors(information, 64, seed=1)[1]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, expected)


def test_the_seed_decides_and_torch_keeps_its_own_random_numbers() -> None:
    information = mutual_information(neighbors(*flat([[0, 1, 2, 3, 1, 0, 4]]), VOCAB), VOCAB)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (cooccurrence_vectors(information, 16, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert torch.allclose(one @ one.T, other @ other.T, atol=1e-2)
