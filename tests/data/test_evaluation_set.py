"""The evaluation set: fixed examples with one hash, whose facts are computed once."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bert_lightning.batch import IS_NEXT, IS_RANDOM, PretrainBatch
from bert_lightning.config import BatchConfig, MaskingConfig, PairKind, PairsConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import ExampleBuilder
from bert_lightning.data.evaluation_set import (
    EvaluationBatches,
    EvaluationContents,
    EvaluationSet,
    read_contents,
)
from bert_lightning.errors import UserError

WIKITEXT_2 = "551dee018895a1b91d8a6b901a52eac04dc7627751f4f2bc9f2ae0b1eca6efb1"
"""The hash of WikiText-2's validation split with the default options: results of two versions
compare only if it never changes."""


def batches(
    corpus: PreparedCorpus, data: BatchConfig, size: int, rank: int = 0, world_size: int = 1
) -> Iterator[PretrainBatch]:
    held_out = EvaluationBatches(corpus, "validation", data, size, rank, world_size)
    return (held_out[i] for i in range(len(held_out)))


def contents(corpus: PreparedCorpus, data: BatchConfig, size: int = 16) -> EvaluationContents:
    return read_contents(batches(corpus, data, size))


def test_the_hash_does_not_depend_on_batch_size_or_world_size(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    whole = contents(small_corpus, small_batch, 10**6)
    for size in (1, 7, 64):
        again = contents(small_corpus, small_batch, size)
        assert again.sha256 == whole.sha256
        assert again.masked_labels.tolist() == whole.masked_labels.tolist()
    ranks = (batch for rank in (0, 1) for batch in batches(small_corpus, small_batch, 5, rank, 2))
    assert read_contents(ranks).sha256 == whole.sha256


def test_the_masks_of_training_do_not_matter(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    more = replace(small_batch, masking=MaskingConfig(0.5), global_batch_size=3)
    assert contents(small_corpus, more).sha256 == contents(small_corpus, small_batch).sha256


@pytest.mark.parametrize("part", ["token_ids", "token_type_ids", "masked_positions", "labels"])
def test_every_input_and_label_is_hashed(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, part: str
) -> None:
    def changed() -> Iterator[PretrainBatch]:
        for number, batch in enumerate(batches(small_corpus, small_batch, 16)):
            if number == 1:
                sequences = batch.sequences
                array = {
                    "token_ids": sequences.token_ids,
                    "token_type_ids": sequences.token_type_ids,
                    "masked_positions": batch.masked_positions,
                    "labels": batch.masked_labels,
                }[part]
                array[2] += 1
            yield batch

    assert read_contents(changed()).sha256 != contents(small_corpus, small_batch).sha256


def test_the_pairs_and_the_lengths_are_hashed(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    def with_labels_swapped() -> Iterator[PretrainBatch]:
        for batch in batches(small_corpus, small_batch, 16):
            yield batch._replace(labels={"nsp": 1 - batch.nsp_labels})

    found = {
        contents(small_corpus, small_batch).sha256,
        contents(small_corpus, replace(small_batch, max_length=23)).sha256,
        contents(small_corpus, replace(small_batch, pairs=PairsConfig(PairKind.none))).sha256,
        read_contents(with_labels_swapped()).sha256,
    }
    assert len(found) == 4


def test_wikitext2_asks_what_it_always_contents(wikitext2_corpus: PreparedCorpus) -> None:
    found = contents(wikitext2_corpus, BatchConfig(), 512)
    assert found.sha256 == WIKITEXT_2
    assert (found.examples, found.tokens, len(found.masked_labels)) == (6_216, 335_925, 50_384)


def test_labels_of_both_kinds_are_contents(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    labels = contents(small_corpus, small_batch).pair_labels
    assert set(np.unique(labels)) == {IS_NEXT, IS_RANDOM}
    assert math.isclose((labels == IS_NEXT).mean(), 0.5, abs_tol=0.2)


def test_the_facts_are_computed_in_one_pass_when_first_asked_for(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = ExampleBuilder.build

    def counted(self: ExampleBuilder, index: np.ndarray, *rest: object) -> PretrainBatch:
        built.extend(index.tolist())
        return build(self, index, *rest)

    monkeypatch.setattr(ExampleBuilder, "build", counted)
    held_out = EvaluationSet(small_corpus, "validation", small_batch, 10**4)
    assert held_out.label_statistics is not None
    assert built == [], "lengths and labels need no batch"
    facts = [(held_out.contents.sha256, held_out.contents, held_out.baselines) for _ in range(2)]
    assert facts[0] == facts[1]
    assert sorted(built) == list(range(held_out.contents.examples))
    assert held_out.label_statistics.pairs_read == held_out.contents.examples


def test_a_split_that_is_not_there_is_named_with_the_way_out(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    with pytest.raises(
        UserError, match=r"no test split, only train, validation; data\.test_fraction=0\.1"
    ):
        EvaluationSet(small_corpus, "test", small_batch, 10**4)
