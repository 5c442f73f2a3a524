"""The loss among sampled words: its definition, and that it estimates the loss among all words."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from bert_lightning.batch import SampledWords
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum
from bert_lightning.model.sampled_softmax import sampled_cross_entropy_sum

VOCAB, HIDDEN, FREQUENT = 12, 6, 4


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors, word vectors, biases and labels: some frequent, some rare."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=dtype)
        return drawn.requires_grad_()

    labels = torch.tensor([0, 3, 5, 11, 7, 5, 2])
    return normal(len(labels), HIDDEN), normal(VOCAB, HIDDEN), normal(VOCAB), labels


def by_definition(
    x: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, words: SampledWords
) -> Tensor:
    """Adds up the estimate word by word."""
    logits, total = x @ weight.T + bias, x.new_zeros(())
    frequent = words.ids[: words.frequent].tolist()
    drawn = words.ids[words.frequent :].tolist()
    for row, label in zip(logits, labels.tolist(), strict=True):
        rare_others = words.rare - (label not in frequent)
        drawn_others = [word for word in drawn if word != label]
        each = rare_others / len(drawn_others)
        others = sum(row[word].exp() for word in frequent if word != label)
        others = others + sum(each * row[word].exp() for word in drawn_others)
        total = total - (row[label].exp() / (row[label].exp() + others)).log()
    return total


def sampled(drawn: list[int]) -> SampledWords:
    ids = torch.tensor([*range(FREQUENT), *drawn])
    return SampledWords(ids, FREQUENT, VOCAB - FREQUENT)


@pytest.mark.parametrize("drawn", [[5, 6, 11], [4, 8, 9, 10], [7, 5]])
def test_the_loss_and_its_gradients_are_those_of_the_definition(drawn: list[int]) -> None:
    *values, labels = inputs()
    fast = sampled_cross_entropy_sum(*values, labels, sampled(drawn))
    slow = by_definition(*values, labels, sampled(drawn))
    torch.testing.assert_close(fast, slow)
    for one, other in zip(
        torch.autograd.grad(fast, values), torch.autograd.grad(slow, values), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_among_all_words_it_is_the_exact_loss() -> None:
    *values, labels = inputs()
    exact, _ = linear_cross_entropy_sum(*values, labels)
    every = sampled(list(range(FREQUENT, VOCAB)))
    fast = sampled_cross_entropy_sum(*values, labels, every)
    torch.testing.assert_close(fast, exact)
    for one, other in zip(
        torch.autograd.grad(fast, values), torch.autograd.grad(exact, values), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_expected_sum_over_the_other_words_is_exact() -> None:
    x, weight, bias, labels = inputs()
    logits = x @ weight.T + bias
    for row, label in enumerate(labels.tolist()):
        own = logits[row, label]
        rest = []
        for drawn in combinations(range(FREQUENT, VOCAB), 3):
            nll = sampled_cross_entropy_sum(
                x[[row]], weight, bias, labels[[row]], sampled(list(drawn))
            )
            rest.append((nll.exp() - 1) * own.exp())
        exact = logits[row].exp().sum() - own.exp()
        torch.testing.assert_close(torch.stack(rest).mean(), exact)


def test_the_loss_of_a_row_does_not_depend_on_the_others() -> None:
    x, weight, bias, labels = inputs()
    words = sampled([5, 9, 11])
    whole = sampled_cross_entropy_sum(x, weight, bias, labels, words)
    parts = [
        sampled_cross_entropy_sum(x[part], weight, bias, labels[part], words)
        for part in (slice(0, 3), slice(3, None))
    ]
    torch.testing.assert_close(whole, sum(parts))


def test_rows_without_a_label_count_nothing() -> None:
    x, weight, bias, labels = inputs()
    words = sampled([5, 9, 11])
    fewer = sampled_cross_entropy_sum(x, weight, bias, labels[:4], words)
    alone = sampled_cross_entropy_sum(x[:4], weight, bias, labels[:4], words)
    torch.testing.assert_close(fewer, alone)
    for one, other in zip(
        torch.autograd.grad(fewer, [x, weight, bias]),
        torch.autograd.grad(alone, [x, weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_bf16_rounds_products_alone() -> None:
    x, weight, bias, labels = inputs(torch.float32)
    words = sampled([5, 9, 11])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = sampled_cross_entropy_sum(x, weight, bias, labels, words)
    assert rounded.dtype is torch.float32
    exact = sampled_cross_entropy_sum(x, weight, bias, labels, words)
    assert math.isclose(rounded.item(), exact.item(), rel_tol=0.02)
    rounded.backward()
    assert weight.grad is not None
    assert weight.grad.dtype is torch.float32
