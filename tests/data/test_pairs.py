"""Which two sentences make an example: judged by the text itself, through a word in each."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.config import PairsConfig
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.data.pairs import Pairs, cut_to_fit, pair_sampler

Place = tuple[int, int, int]


@pytest.fixture(scope="module")
def train(small_corpus: PreparedCorpus) -> Split:
    return small_corpus.splits["train"]


@pytest.fixture(scope="module")
def place_of(small_text: list[list[list[str]]], small_corpus: PreparedCorpus) -> dict[int, Place]:
    """Where in the text the sentence is that begins with a token: (document, paragraph, number)."""
    vocabulary = small_corpus.tokenizer.get_vocab()
    return {
        vocabulary[sentence.split()[0].lower()]: (d, p, s)
        for d, document in enumerate(small_text)
        for p, paragraph in enumerate(document)
        for s, sentence in enumerate(paragraph)
        if sentence.split()[0].lower() in vocabulary
    }


def places(split: Split, starts: np.ndarray, place_of: dict[int, Place]) -> list[Place]:
    return [place_of[int(token)] for token in split.token_ids[starts]]


def draw(split: Split, epoch: int, max_length: int = 24, seed: int = 0) -> Pairs:
    sampler = pair_sampler(split, PairsConfig(), max_length)
    return sampler.sample(np.arange(len(sampler)), seed, epoch)


def test_the_label_is_the_true_relation_and_negatives_are_of_another_document(
    train: Split, place_of: dict[int, Place]
) -> None:
    for epoch in range(5):
        pairs = draw(train, epoch)
        firsts = places(train, pairs.first_start, place_of)
        seconds = places(train, pairs.second_start, place_of)
        for a, b, label in zip(firsts, seconds, pairs.nsp_labels.tolist(), strict=True):
            follows = b == (a[0], a[1], a[2] + 1)
            assert label == (0 if follows else 1)
            assert follows or a[0] != b[0]


def test_the_first_sentences_are_all_those_that_another_one_follows(
    train: Split, place_of: dict[int, Place], small_text: list[list[list[str]]]
) -> None:
    firsts = places(train, draw(train, 0).first_start, place_of)
    in_train = {place_of[int(token)][0] for token in train.token_ids if int(token) in place_of}
    followed = [
        (d, p, s)
        for d in sorted(in_train)
        for p, paragraph in enumerate(small_text[d])
        for s in range(len(paragraph) - 1)
    ]
    assert firsts == followed
    assert train.pairs == len(followed)


def test_about_half_of_the_second_sentences_are_next(train: Split) -> None:
    labels = np.concatenate([draw(train, epoch).nsp_labels for epoch in range(40)])
    assert abs(labels.mean() - 0.5) < 5 * 0.5 / len(labels) ** 0.5
    each = np.stack([draw(train, epoch).nsp_labels for epoch in range(40)]).mean(0)
    assert each.min() > 0.05, "an example whose label never changes"
    assert each.max() < 0.95, "an example whose label never changes"


def test_random_second_sentences_are_even_over_all_other_documents(train: Split) -> None:
    index = np.full(60_000, 3)
    pairs = pair_sampler(train, PairsConfig(), 24).sample(index, 0, np.arange(len(index)))
    counts = Counter(pairs.second_start[pairs.nsp_labels == 1].tolist())
    start, end = train.document_bounds(train.first_sentence(np.array([3]), train.paragraph_starts))
    others = train.sentences - int(end[0] - start[0])
    assert len(counts) == others
    expected = sum(counts.values()) / others
    assert max(abs(n - expected) for n in counts.values()) < 5 * expected**0.5


def test_second_sentences_differ_from_epoch_to_epoch_and_seed_to_seed(train: Split) -> None:
    same, again = draw(train, 0), draw(train, 0)
    assert all(np.array_equal(a, b) for a, b in zip(same, again, strict=True))
    for other in (draw(train, 1), draw(train, 0, seed=1)):
        assert (same.second_start != other.second_start).mean() > 0.5
        assert np.array_equal(same.first_start, other.first_start)


@pytest.mark.parametrize("max_length", [5, 6, 9, 24, 128])
def test_lengths_never_exceed_the_limit_and_no_sentence_vanishes(
    train: Split, max_length: int
) -> None:
    pairs = draw(train, 0, max_length)
    assert pairs.lengths.max() <= max_length
    assert min(pairs.first_length.min(), pairs.second_length.min()) >= 1
    if max_length == 24:
        uncut = draw(train, 0, 1000)
        assert (pairs.lengths < uncut.lengths).any(), "the test cuts nothing"


@given(a=st.integers(0, 60), b=st.integers(0, 60), budget=st.integers(2, 50))
def test_the_longer_sentence_is_cut_and_of_equals_the_second(a: int, b: int, budget: int) -> None:
    expected = [a, b]
    while sum(expected) > budget:
        expected[0 if expected[0] > expected[1] else 1] -= 1
    cut = cut_to_fit(np.array([a]), np.array([b]), budget)
    assert [int(cut[0][0]), int(cut[1][0])] == expected
