"""The sums of a model's scores: exact, and the same for every batch size and world size."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

import pytest
import torch

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import BatchConfig, ModelConfig, PairKind, PairsConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.evaluation.scores import HeldOutSums, held_out_sums, in_words, score_batches
from bert_lightning.evaluation.token_stats import CLASSES, TokenStats, token_stats
from bert_lightning.model.bert import BertForPreTraining


def batches(
    corpus: PreparedCorpus, data: BatchConfig, size: int, rank: int = 0, world_size: int = 1
) -> Iterator[PretrainBatch]:
    held_out = EvaluationBatches(corpus, "validation", data, size, rank, world_size)
    return (held_out[i] for i in range(len(held_out)))


@pytest.fixture
def stats(small_corpus: PreparedCorpus) -> TokenStats:
    size = small_corpus.tokenizer.get_vocab_size() + 3
    return token_stats(small_corpus.tokenizer, small_corpus.splits["train"].counts_of_rows(size))


@pytest.fixture
def model(small_model: ModelConfig, stats: TokenStats) -> BertForPreTraining:
    """Random weights, but for some knowledge of what is frequent."""
    torch.manual_seed(0)
    found = BertForPreTraining(replace(small_model, initializer_range=0.3), len(stats.rank))
    found.mlm_head.decoder.bias.data -= torch.from_numpy(stats.unigram_nll)
    return found


def close(a: HeldOutSums, b: HeldOutSums) -> None:
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_sums_are_those_of_scoring_each_example_alone(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    stats: TokenStats,
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
            name = CLASSES[stats.group[label]]
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

    found = score_batches(model, batches(small_corpus, small_batch, 16), stats)
    assert found.mlm_nll.tolist() == pytest.approx(list(nll.values()), rel=1e-5)
    assert found.mlm_correct.tolist() == list(right.values())
    assert found.mlm_in_five.tolist() == list(in_five.values())
    assert found.masked.tolist() == list(count.values())
    assert min(count["common"], count["unknown"]) > 10
    assert 0 < sum(right.values()) < sum(in_five.values()) < sum(count.values())
    assert found.characters == characters
    assert found.nsp.nll.item() == pytest.approx(nsp_nll, rel=1e-5)
    assert found.nsp.correct == nsp_right
    assert found.nsp.labels == pairs


@pytest.mark.parametrize("size", [1, 3, 64, 10**6])
def test_any_micro_batch_gives_the_same_sums(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    stats: TokenStats,
    size: int,
) -> None:
    expected = score_batches(model, batches(small_corpus, small_batch, 16), stats)
    close(score_batches(model, batches(small_corpus, small_batch, size), stats), expected)


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_sums_of_all_ranks_add_up_to_the_whole(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    stats: TokenStats,
    world_size: int,
) -> None:
    of_ranks = [
        score_batches(model, batches(small_corpus, small_batch, 16, rank, world_size), stats)
        for rank in range(world_size)
    ]
    whole = score_batches(model, batches(small_corpus, small_batch, 16), stats)
    assert all(sums.nsp.labels < whole.nsp.labels for sums in of_ranks)
    close(reduce(HeldOutSums.plus, of_ranks), whole)


def test_they_are_the_sums_of_training_and_validation(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    stats: TokenStats,
) -> None:
    model.eval()
    (batch,) = batches(small_corpus, small_batch, 10**6)
    with torch.no_grad():
        expected = model.sums(batch)
        found = held_out_sums(model, batch, stats)
    torch.testing.assert_close(found.mlm_nll.sum(), expected["mlm"].nll)
    torch.testing.assert_close(found.mlm_correct.sum(), expected["mlm"].correct)
    torch.testing.assert_close(found.nsp.nll, expected["nsp"].nll)
    assert found.nsp.correct == expected["nsp"].correct


def test_means_omit_what_has_no_labels() -> None:
    sums = HeldOutSums.zeros(others=2)
    assert sums.plus(sums).masked.tolist() == [0] * len(CLASSES)
    some = sums._replace(
        mlm_nll=torch.tensor([6.0, 0, 8, 0]),
        mlm_correct=torch.tensor([1.0, 0, 0, 0]),
        mlm_in_five=torch.tensor([2.0, 0, 1, 0]),
        masked=torch.tensor([3.0, 0, 2, 0]),
    )
    assert {
        name: value.item() for name, value in some.means(["nsp", "sop"]).items()
    } == pytest.approx(
        {
            **{"mlm_loss": 14 / 5, "mlm_accuracy": 1 / 5, "mlm_accuracy_at_5": 3 / 5},
            **{"mlm_accuracy_known": 1 / 5, "mlm_unknown_fraction": 0},
            **{"mlm_loss_common": 2, "mlm_loss_rare": 4},
            **{"mlm_accuracy_common": 1 / 3, "mlm_accuracy_rare": 0},
        }
    )
    all_of_it = some._replace(
        characters=torch.tensor(7.0),
        others=torch.tensor([[3.0, 4, 6], [0, 0, 0]]),
    ).means(["nsp", "sop"])
    assert all_of_it["bits_per_character"].item() == pytest.approx(2 / math.log(2))
    assert (all_of_it["nsp_loss"], all_of_it["nsp_accuracy"]) == (0.5, pytest.approx(4 / 6))
    assert "sop_loss" not in all_of_it


def test_unknown_words_count_as_no_success() -> None:
    zeros = HeldOutSums.zeros(others=0)
    most = zeros._replace(
        mlm_correct=torch.tensor([1.0, 0, 0, 79]), masked=torch.tensor([4.0, 12, 4, 80])
    )
    found = most.means([])
    assert found["mlm_accuracy"] == pytest.approx(0.8)
    assert found["mlm_accuracy_known"] == pytest.approx(1 / 20)
    assert found["mlm_unknown_fraction"] == pytest.approx(0.8)
    nothing_else = zeros._replace(masked=torch.tensor([0.0, 0, 0, 9])).means([])
    assert "mlm_accuracy_known" not in nothing_else


def test_scores_in_words() -> None:
    baselines = {
        "mlm_loss": 4.0,
        "mlm_accuracy": 0.8,
        "mlm_accuracy_known": 0.125,
        "nsp_loss": None,
    }
    scores = {"mlm_loss": 2.0, "mlm_accuracy": 0.8, "mlm_accuracy_known": 0.0625}
    scores |= {"nsp_loss": 0.5, "nsp_accuracy": 0.75}
    known, pairs = in_words(["mlm", "nsp", "sop"], scores, baselines)
    assert known == "MLM loss 2.000 (baseline 4.000), accuracy 0.062 (baseline 0.125)"
    assert pairs == "NSP loss 0.500, accuracy 0.750"
    (some,) = in_words(["mlm"], {**scores, "mlm_unknown_fraction": 0.8}, baselines)
    assert some == f"{known} without the 80.0% [UNK]"
    later = in_words(["sop", "nsp"], scores, baselines)
    assert list(later) == [pairs], "an objective that was not scored hides the next one"
    del scores["mlm_accuracy_known"]
    (nothing,) = in_words(["mlm"], {**scores, "mlm_unknown_fraction": 1.0}, {})
    assert nothing == "MLM loss 2.000, no accuracy, as all masked tokens are [UNK]"


def test_blocks_have_no_pairs_to_score(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    stats: TokenStats,
) -> None:
    blocks = replace(small_batch, pairs=PairsConfig(PairKind.none))
    found = score_batches(model, batches(small_corpus, blocks, 16), stats)
    assert found.others.tolist() == [[0, 0, 0]]
    assert found.masked.sum() > 0


def test_dropout_is_off_and_the_model_stays_in_its_mode(
    small_corpus: PreparedCorpus,
    small_batch: BatchConfig,
    model: BertForPreTraining,
    stats: TokenStats,
) -> None:
    model.train()
    once, again = (score_batches(model, batches(small_corpus, small_batch, 9), stats) for _ in "ab")
    close(once, again)
    assert model.training
