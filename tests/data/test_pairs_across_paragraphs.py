"""Pairs of two sentences of a document: those of a slow count, whatever is asked for beside."""

import random

import numpy as np
import pytest

from bert_lightning.batch import IS_NEXT
from bert_lightning.config import Overlong, PairsConfig, PairTask
from bert_lightning.corpus.store import Split
from bert_lightning.data.pairs import SentencePairs


def random_split(seed: int) -> tuple[Split, list[list[list[int]]]]:
    """A split, and its documents as the lengths of the sentences of their paragraphs."""
    rng = random.Random(seed)
    documents = [
        [[rng.randint(1, 9) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 4))]
        for _ in range(rng.randint(2, 12))
    ]
    paragraphs = [paragraph for document in documents for paragraph in document]
    sentences = [length for paragraph in paragraphs for length in paragraph]

    def starts(lengths: list[int]) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    split = Split(
        np.arange(sum(sentences)),
        np.ones(sum(sentences), bool),
        starts(sentences),
        starts([*map(len, paragraphs)]),
        starts([*map(len, documents)]),
        np.zeros(1, np.int64),
    )
    return split, documents


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("overlong", Overlong)
@pytest.mark.parametrize("task", PairTask)
@pytest.mark.parametrize("seed", range(4))
def test_they_are_those_of_a_slow_count(
    across: bool, overlong: Overlong, task: PairTask, seed: int
) -> None:
    split, documents = random_split(seed)
    budget, expected, sentence, too_long = 12, [], 0, 0
    places = {}
    for number, document in enumerate(documents):
        parts = [[length for paragraph in document for length in paragraph]] if across else document
        for part in parts:
            for place, length in enumerate(part):
                places[sentence + place] = number
                if place + 1 < len(part):
                    fits = length + part[place + 1] <= budget
                    too_long += not fits
                    if fits or overlong is Overlong.truncate:
                        expected.append(sentence + place)
            sentence += len(part)
    config = PairsConfig(task=task, overlong=overlong, across_paragraphs=across)
    sampler = SentencePairs(split, config, budget + 3)
    assert (len(sampler), sampler.overlong) == (len(expected), too_long)
    index = np.arange(len(sampler))
    found = sampler.sample(index, 7, 0)
    one_by_one = [sampler.sample(index[i : i + 1], 7, 0) for i in index]
    for name, values in found._asdict().items():
        assert values.tolist() == [getattr(one, name)[0] for one in one_by_one]
    of_start = {int(start): n for n, start in enumerate(split.sentence_starts[:-1])}
    for first, start, second, label in zip(
        expected, found.first_start, found.second_start, found.nsp_labels, strict=True
    ):
        pair = of_start[int(start)], of_start[int(second)]
        if label == IS_NEXT:
            assert pair == (first, first + 1)
        elif task is PairTask.sop:
            assert pair == (first + 1, first)
        else:
            assert pair[0] == first
            assert places[pair[1]] != places[first]
