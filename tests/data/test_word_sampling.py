"""Which words a step predicts among: a function of the seed and the step alone."""

import numpy as np

from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import LABELERS, TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.word_sampling import WordSampling

COUNTS = np.array([0, 5, 2, 90, 7, 7, 1, 0, 30, 2, 1, 4])


def test_the_most_frequent_words_are_there_and_the_rest_is_drawn() -> None:
    sampling = WordSampling(COUNTS, 6, seed=3)
    seen = set()
    for step in range(200):
        words = sampling.at(step)
        ids = words.ids.tolist()
        assert (len(set(ids)), words.frequent, words.rare) == (6, 4, 8)
        assert ids[:4] == [3, 8, 4, 5]
        seen.update(ids[4:])
    assert seen == set(range(12)) - {3, 8, 4, 5}
    np.testing.assert_array_equal(sampling.at(7).ids, WordSampling(COUNTS, 6, seed=3).at(7).ids)


def test_each_rare_word_is_drawn_equally_often() -> None:
    sampling = WordSampling(COUNTS, 6, seed=0)
    drawn = np.concatenate([sampling.at(step).ids[4:] for step in range(4000)])
    counts = np.bincount(drawn, minlength=len(COUNTS))
    expected = 4000 * 2 / 8
    assert (abs(counts[counts > 0] - expected) < 5 * expected**0.5).all()


def test_all_ranks_and_micro_batches_of_a_step_have_the_same_words(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    sampling = WordSampling(small_corpus.splits["train"].token_counts, 8, seed=5)

    def words(partition: StepPartition, index: int) -> list[int]:
        batches = TrainingBatches(small_corpus, small_batch, 5, partition, 9, LABELERS, sampling)
        found = batches[index].sampled_words
        assert found is not None
        return found.ids.tolist()

    whole = words(StepPartition(0, 1, 1), 4)
    assert all(
        words(StepPartition(rank, 2, 2), index) == whole for rank in (0, 1) for index in (8, 9)
    )
    assert words(StepPartition(0, 1, 1), 5) != whole
