"""The questions never change, and the sums do not depend on how they were divided."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch

from bert_lightning.batch import IS_NEXT, IS_RANDOM, PretrainBatch
from bert_lightning.config import BatchConfig, MaskingConfig, ModelConfig, PairKind, PairsConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.baselines import count_tokens
from bert_lightning.data.batches import EvaluationBatches
from bert_lightning.evaluation.scores import (
    HeldOutSums,
    Questions,
    answer,
    held_out_sums,
    questions,
)
from bert_lightning.evaluation.token_stats import CLASSES, Vocabulary, describe
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import objective_sums

WIKITEXT_2 = "551dee018895a1b91d8a6b901a52eac04dc7627751f4f2bc9f2ae0b1eca6efb1"
"""What is asked on WikiText-2's validation split with the default options: results of one version
and of another compare only if this never changes."""


def batches(
    corpus: PreparedCorpus, data: BatchConfig, size: int, rank: int = 0, world_size: int = 1
) -> Iterator[PretrainBatch]:
    held_out = EvaluationBatches(corpus, "validation", data, size, rank, world_size)
    return (held_out[i] for i in range(len(held_out)))


def asked(corpus: PreparedCorpus, data: BatchConfig, size: int = 16) -> Questions:
    return questions(batches(corpus, data, size))


@pytest.fixture
def vocabulary(small_corpus: PreparedCorpus) -> Vocabulary:
    size = small_corpus.tokenizer.get_vocab_size() + 3
    return describe(small_corpus.tokenizer, count_tokens(small_corpus.splits["train"], size))


@pytest.fixture
def model(small_model: ModelConfig, vocabulary: Vocabulary) -> BertForPreTraining:
    """Random weights, but for some knowledge of what is frequent."""
    torch.manual_seed(0)
    found = BertForPreTraining(replace(small_model, initializer_range=0.3), len(vocabulary.rank))
    found.mlm_head.decoder.bias.data -= torch.from_numpy(vocabulary.unigram_nll)
    return found


def close(a: HeldOutSums, b: HeldOutSums) -> None:
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_the_questions_are_the_same_however_they_are_divided(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    whole = asked(small_corpus, small_batch, 10**6)
    for size in (1, 7, 64):
        again = asked(small_corpus, small_batch, size)
        assert again.sha256 == whole.sha256
        assert again.labels.tolist() == whole.labels.tolist()
    shares = (batch for rank in (0, 1) for batch in batches(small_corpus, small_batch, 5, rank, 2))
    assert questions(shares).sha256 == whole.sha256


def test_the_masks_of_training_change_no_question(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    more = replace(small_batch, masking=MaskingConfig(0.5), global_batch_size=3)
    assert asked(small_corpus, more).sha256 == asked(small_corpus, small_batch).sha256


@pytest.mark.parametrize("part", ["token_ids", "token_type_ids", "masked_positions", "labels"])
def test_every_part_of_a_question_is_hashed(
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

    assert questions(changed()).sha256 != asked(small_corpus, small_batch).sha256


def test_the_pairs_and_the_lengths_are_hashed(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    def with_labels_swapped() -> Iterator[PretrainBatch]:
        for batch in batches(small_corpus, small_batch, 16):
            yield batch._replace(nsp_labels=1 - batch.nsp_labels)

    found = {
        asked(small_corpus, small_batch).sha256,
        asked(small_corpus, replace(small_batch, max_length=23)).sha256,
        asked(small_corpus, replace(small_batch, pairs=PairsConfig(PairKind.none))).sha256,
        questions(with_labels_swapped()).sha256,
    }
    assert len(found) == 4


def test_wikitext2_asks_what_it_always_asked(wikitext2_corpus: PreparedCorpus) -> None:
    found = asked(wikitext2_corpus, BatchConfig(), 512)
    assert found.sha256 == WIKITEXT_2
    assert (found.examples, found.tokens, len(found.labels)) == (6_216, 335_925, 50_384)


def test_sums_are_those_of_asking_each_question_alone(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    vocabulary: Vocabulary,
) -> None:
    nll = dict.fromkeys(CLASSES, 0.0)
    right, in_five, count = (dict.fromkeys(CLASSES, 0) for _ in range(3))
    nsp_nll, nsp_right, characters, pairs = 0.0, 0, 0, 0
    model.eval()
    for batch in batches(small_corpus, small_batch, 1):
        with torch.no_grad():
            encoded = model(batch.sequences)
            logits = model.mlm_head(encoded.hidden)
            (nsp,) = model.nsp_head(encoded.pooled)
        for place, label in zip(
            batch.masked_positions.tolist(), batch.masked_labels.tolist(), strict=True
        ):
            name = CLASSES[vocabulary.group[label]]
            likeliest = logits[place].argsort(descending=True).tolist()
            nll[name] -= logits[place].log_softmax(0)[label].item()
            right[name] += likeliest[0] == label
            in_five[name] += label in likeliest[:5]
            count[name] += 1
            if name != "unknown":
                characters += len(small_corpus.tokenizer.id_to_token(label))
        (pair,) = batch.nsp_labels.tolist()
        nsp_nll -= nsp.log_softmax(0)[pair].item()
        nsp_right += nsp[pair].item() > nsp[1 - pair].item()
        pairs += 1

    found = answer(model, batches(small_corpus, small_batch, 16), vocabulary)
    assert found.mlm_nll.tolist() == pytest.approx(list(nll.values()), rel=1e-5)
    assert found.mlm_correct.tolist() == list(right.values())
    assert found.mlm_in_five.tolist() == list(in_five.values())
    assert found.masked.tolist() == list(count.values())
    assert min(count["common"], count["unknown"]) > 10
    assert 0 < sum(right.values()) < sum(in_five.values()) < sum(count.values())
    assert found.characters == characters
    assert found.nsp_nll.item() == pytest.approx(nsp_nll, rel=1e-5)
    assert found.nsp_correct == nsp_right
    assert found.labelled == pairs


@pytest.mark.parametrize("size", [1, 3, 64, 10**6])
def test_any_micro_batch_gives_the_same_sums(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    vocabulary: Vocabulary,
    size: int,
) -> None:
    expected = answer(model, batches(small_corpus, small_batch, 16), vocabulary)
    close(answer(model, batches(small_corpus, small_batch, size), vocabulary), expected)


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_shares_of_several_devices_add_up_to_the_whole(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    vocabulary: Vocabulary,
    world_size: int,
) -> None:
    shares = [
        answer(model, batches(small_corpus, small_batch, 16, rank, world_size), vocabulary)
        for rank in range(world_size)
    ]
    whole = answer(model, batches(small_corpus, small_batch, 16), vocabulary)
    assert all(share.labelled < whole.labelled for share in shares)
    close(reduce(HeldOutSums.plus, shares), whole)


def test_they_are_the_sums_of_training_and_validation(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    vocabulary: Vocabulary,
) -> None:
    model.eval()
    (batch,) = batches(small_corpus, small_batch, 10**6)
    with torch.no_grad():
        expected = objective_sums(model, batch)
        found = held_out_sums(model, batch, vocabulary)
    torch.testing.assert_close(found.mlm_nll.sum(), expected.mlm_nll)
    torch.testing.assert_close(found.mlm_correct.sum(), expected.mlm_correct)
    torch.testing.assert_close(found.nsp_nll, expected.nsp_nll)
    assert found.nsp_correct == expected.nsp_correct


def test_means_name_what_was_asked_and_leave_out_what_was_not() -> None:
    sums = HeldOutSums.zeros()
    assert sums.plus(sums).masked.tolist() == [0] * len(CLASSES)
    some = sums._replace(
        mlm_nll=torch.tensor([6.0, 0, 8, 0]),
        mlm_correct=torch.tensor([1.0, 0, 0, 0]),
        mlm_in_five=torch.tensor([2.0, 0, 1, 0]),
        masked=torch.tensor([3.0, 0, 2, 0]),
    )
    assert {name: value.item() for name, value in some.means().items()} == pytest.approx(
        {
            **{"mlm_loss": 14 / 5, "mlm_accuracy": 1 / 5, "mlm_accuracy_at_5": 3 / 5},
            **{"mlm_loss_common": 2, "mlm_loss_rare": 4},
        }
    )
    all_of_it = some._replace(
        characters=torch.tensor(7.0),
        nsp_nll=torch.tensor(3.0),
        nsp_correct=torch.tensor(4.0),
        labelled=torch.tensor(6.0),
    ).means()
    assert all_of_it["bits_per_character"].item() == pytest.approx(2 / math.log(2))
    assert (all_of_it["nsp_loss"], all_of_it["nsp_accuracy"]) == (0.5, pytest.approx(4 / 6))


def test_blocks_have_no_pairs_to_score(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    vocabulary: Vocabulary,
) -> None:
    blocks = replace(small_batch, pairs=PairsConfig(PairKind.none))
    found = answer(model, batches(small_corpus, blocks, 16), vocabulary)
    assert (found.labelled, found.nsp_nll, found.nsp_correct) == (0, 0, 0)
    assert found.masked.sum() > 0


def test_dropout_is_off_and_the_model_stays_in_its_mode(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    vocabulary: Vocabulary,
) -> None:
    model.train()
    once, again = (answer(model, batches(small_corpus, small_batch, 9), vocabulary) for _ in "ab")
    close(once, again)
    assert model.training


def test_labels_of_both_kinds_are_asked(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    labels = asked(small_corpus, small_batch).pair_labels
    assert set(np.unique(labels)) == {IS_NEXT, IS_RANDOM}
    assert math.isclose((labels == IS_NEXT).mean(), 0.5, abs_tol=0.2)
