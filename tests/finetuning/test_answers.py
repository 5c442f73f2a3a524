"""Scores of answers equal those of SQuAD's script, and the best span that of a slow search."""

import re
import string
from collections import Counter
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bert_lightning.config import ModelConfig
from bert_lightning.finetuning.answering import spans
from bert_lightning.finetuning.answering.head import SpanHead
from bert_lightning.finetuning.answering.spans import Span, best_spans
from bert_lightning.finetuning.scoring.answers import answer_scores, f1

WORDS = ["crane", "The", "an", "a", "crane's", "-", "U.S.", "river", "“bridge”", "$5"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_answers_have_the_scores_of_squads_script(answer: str, right: list[str]) -> None:
    """As evaluate-v2.0.py (worksheets.codalab.org) computes them."""

    def normalize(text: str) -> str:
        kept = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())

    def compute_f1(gold: str) -> float:
        theirs, ours = normalize(gold).split(), normalize(answer).split()
        same = sum((Counter(theirs) & Counter(ours)).values())
        if not theirs or not ours:
            return float(theirs == ours)
        if same == 0:
            return 0.0
        precision, recall = same / len(ours), same / len(theirs)
        return 2 * precision * recall / (precision + recall)

    found = answer_scores([answer], [right])
    assert found["exact_match"] == max(normalize(answer) == normalize(gold) for gold in right)
    assert found["f1"] == pytest.approx(max(map(compute_f1, right)))


def test_a_chinese_answer_is_compared_by_its_characters() -> None:
    assert f1("2010年秋天", ["2010 年，秋"]) == pytest.approx(2 * 3 / (4 + 3))
    assert f1("東京タワー", ["東京"]) == pytest.approx(2 * 2 / (5 + 2))
    assert answer_scores(["秋天。"], [["春天", "秋天"]])["exact_match"] == 1


def test_no_answer_is_right_where_there_is_none() -> None:
    assert answer_scores(["", "crane"], [[""], [""]]) == {"f1": 0.5, "exact_match": 0.5}


WINDOWS = st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WINDOWS, st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
@example([(1, False), (1, False)], 1, False, 1)
def test_the_best_span_is_that_of_a_search_through_all(
    windows: list[tuple[int, bool]], most: int, may_have_none: bool, seed: int
) -> None:
    widths = np.array([width for width, _ in windows])
    questions = np.cumsum([0, *(new for _, new in windows[1:])])
    outputs = np.random.default_rng(seed).normal(size=(widths.sum(), 2)) * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "MOST_TOKENS", most)
        found = best_spans(outputs, widths, questions, may_have_none)
    starts = [0, *accumulate(widths.tolist())]
    for question in range(len(found)):
        answers, nones = [], []
        for window in np.flatnonzero(questions == question):
            start, end = starts[window], starts[window + 1]
            pairs = {
                (i, j): outputs[i, 0] + outputs[j, 1]
                for i in range(start + 1, end)
                for j in range(i, min(i + most, end))
            }
            none = outputs[start].sum()
            all_scores = [*pairs.values(), *([none] if may_have_none or not pairs else [])]
            total = np.exp(all_scores).sum()
            nones.append((none, start, start, np.exp(none) / total))
            answers += [(score, *pair, np.exp(score) / total) for pair, score in pairs.items()]
        # Without a word of context there is no span to find: the first `[CLS]` says so.
        expected = max(answers) if answers else (-np.inf, *nones[0][1:3], 0.0)
        if may_have_none and min(nones)[0] > expected[0]:
            expected = min(nones)
        score, first, last, probability = expected
        assert (found[question].first, found[question].last) == (first, last)
        assert found[question].score == pytest.approx(score)
        assert found[question].probability == pytest.approx(probability)


def test_no_question_has_no_span() -> None:
    nothing = np.zeros(0, np.int64)
    assert best_spans(np.zeros((0, 2)), nothing, nothing, False) == list[Span]()


def test_the_loss_of_a_window_is_that_of_its_start_and_of_its_end() -> None:
    torch.manual_seed(0)
    widths, labels = np.array([4, 1, 6]), torch.tensor([[1, 3], [0, 0], [5, 5]])
    outputs = torch.randn(11, 2, requires_grad=True)
    parts = outputs.split(widths.tolist())
    expected = sum(
        torch.nn.functional.cross_entropy(part.T, label, reduction="sum") / 2
        for part, label in zip(parts, labels, strict=True)
    )
    head = SpanHead(ModelConfig(hidden_size=8, num_attention_heads=2), 2)
    sums = head.sums(outputs, labels, widths)
    torch.testing.assert_close(sums.nll, expected)
    assert sums.labels == 3
    assert sums.correct == sum(
        bool((part.argmax(0) == label).all()) for part, label in zip(parts, labels, strict=True)
    )
    (found,) = torch.autograd.grad(sums.nll, outputs, retain_graph=True)
    (gradient,) = torch.autograd.grad(expected, outputs)
    torch.testing.assert_close(found, gradient)
