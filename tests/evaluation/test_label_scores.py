"""Likelihood and rank of labels against plain counting over all logits."""

import pytest
import torch

from bert_lightning.config import ModelConfig
from bert_lightning.evaluation.label_scores import LabelScores, label_scores
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.linear_cross_entropy import CHUNK, linear_cross_entropy_sum
from bert_lightning.model.objective import MaskedLanguageModeling

VOCAB = 23


@pytest.fixture
def head() -> MaskedLanguageModeling:
    torch.manual_seed(0)
    sizes = ModelConfig(hidden_size=8, num_attention_heads=2, initializer_range=0.5)
    return BertForPreTraining(sizes, VOCAB).mlm_head


def test_scores_are_those_of_counting_over_all_logits(head: MaskedLanguageModeling) -> None:
    count = CHUNK + 3  # a chunk, and a part of one
    hidden, labels = torch.randn(count, 8), torch.randint(VOCAB, (count,))
    with torch.no_grad():
        logits = head(hidden)
    scores = label_scores(head, hidden, labels)
    assert len(scores.nll) == count
    for row, label, nll, higher, among_5 in zip(
        logits, labels, scores.nll, scores.higher, scores.among(5), strict=True
    ):
        order = row.argsort(descending=True).tolist()
        assert order.index(label) == higher
        assert among_5 == (label in order[:5])
        assert nll.item() == pytest.approx(-row.softmax(0)[label].log().item(), rel=1e-5)
    assert scores.equal.eq(1).all()


def test_they_agree_with_the_training_loss(head: MaskedLanguageModeling) -> None:
    hidden, labels = torch.randn(50, 8), torch.randint(VOCAB, (50,))
    with torch.no_grad():
        rows = head.transform(hidden)
        nll, correct = linear_cross_entropy_sum(
            rows, head.decoder.weight, head.decoder.bias, labels
        )
    scores = label_scores(head, hidden, labels)
    torch.testing.assert_close(scores.nll.sum(), nll)
    torch.testing.assert_close(scores.among(1).sum(), correct)


def test_equals_share_the_last_places() -> None:
    higher, equal = torch.tensor([0, 0, 3, 4, 5, 2]), torch.tensor([1, 4, 4, 2, 1, 10])
    scores = LabelScores(torch.zeros(6), higher, equal)
    assert scores.among(1).tolist() == [1, 0.25, 0, 0, 0, 0]
    torch.testing.assert_close(scores.among(5), torch.tensor([1, 1, 0.5, 0.5, 0, 0.3]))


def test_logits_of_few_bits_are_summed_in_many(head: MaskedLanguageModeling) -> None:
    hidden, labels = torch.randn(9, 8), torch.randint(VOCAB, (9,))
    low = label_scores(head.bfloat16(), hidden.bfloat16(), labels)
    assert low.nll.dtype is torch.float32
    exact = label_scores(head.double(), hidden.double(), labels)
    assert exact.nll.dtype is torch.float64
    torch.testing.assert_close(low.nll.double(), exact.nll, rtol=0.05, atol=0.05)
