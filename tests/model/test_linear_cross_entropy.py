"""The loss over the vocabulary where teachers say what is to be predicted, besides the labels."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import IGNORE_INDEX, Taught
from bert_lightning.model import linear_cross_entropy
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum
from bert_lightning.model.objective import classification_sums

VOCAB, WIDTH, THEIRS = 60, 16, 24


def taught(rows: int, dtype: torch.dtype, fraction: float) -> Taught:
    return Taught(
        vectors=torch.randn(rows, THEIRS, dtype=dtype),
        weight=torch.randn(VOCAB, THEIRS, dtype=dtype) * 0.3,
        bias=torch.randn(VOCAB, dtype=dtype),
        pairs=None,
        fraction=fraction,
    )


def student(rows: int, dtype: torch.dtype) -> list[Tensor]:
    shapes = ((rows, WIDTH), (VOCAB, WIDTH), (VOCAB,))
    return [torch.randn(shape, dtype=dtype).mul_(0.5).requires_grad_() for shape in shapes]


def plain(values: list[Tensor], labels: Tensor, by: Taught) -> Tensor:
    """The cross-entropy with a mixture of the one-hot labels and the teachers' probabilities."""
    x, weight, bias = values
    theirs = (by.vectors[: len(labels)] @ by.weight.T + by.bias).softmax(1)
    wanted = torch.lerp(F.one_hot(labels, VOCAB).to(x.dtype), theirs, by.fraction)
    return -(wanted * (x[: len(labels)] @ weight.T + bias).log_softmax(1)).sum()


@pytest.mark.parametrize("fraction", [0.25, 1.0])
@pytest.mark.parametrize(("labelled", "rows", "answered"), [(0, 0, 0), (7, 7, 7), (21, 32, 24)])
def test_teachers_change_the_gradient_and_not_the_loss(
    fraction: float, labelled: int, rows: int, answered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 8 rows; the student's and the teachers' rows are rounded up each in its way."""
    monkeypatch.setattr(linear_cross_entropy, "CHUNK", 8)
    torch.manual_seed(0)
    values, by = student(rows, torch.float64), taught(answered, torch.float64, fraction)
    labels = torch.randint(0, VOCAB, (labelled,))
    nll, correct = linear_cross_entropy_sum(*values, labels, by)
    alone, as_many = linear_cross_entropy_sum(*values, labels)
    assert (nll, correct) == (alone, as_many)
    expected = torch.autograd.grad(3 * plain(values, labels, by), values)
    for ours, theirs in zip(torch.autograd.grad(3 * nll, values), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_under_bf16_the_gradients_of_a_taught_step_are_near() -> None:
    torch.manual_seed(0)
    values, by = student(600, torch.float32), taught(600, torch.float32, 0.5)
    labels = torch.randint(0, VOCAB, (600,))
    expected = torch.autograd.grad(plain(values, labels, by), values)
    with torch.autocast("cpu", torch.bfloat16):
        nll, _ = linear_cross_entropy_sum(*values, labels, by)
    for ours, theirs in zip(torch.autograd.grad(nll, values), expected, strict=True):
        assert ((ours - theirs).norm() / theirs.norm()).item() < 0.02


def test_a_teacher_that_predicts_what_the_student_does_leaves_the_labels_rest() -> None:
    torch.manual_seed(0)
    x, weight, bias = values = student(12, torch.float64)
    labels = torch.randint(0, VOCAB, (12,))
    same = Taught(x.detach(), weight.detach(), bias.detach(), None, 0.75)
    ours = torch.autograd.grad(linear_cross_entropy_sum(*values, labels, same)[0], values)
    alone = torch.autograd.grad(linear_cross_entropy_sum(*values, labels)[0], values)
    for taught_gradient, gradient in zip(ours, alone, strict=True):
        torch.testing.assert_close(taught_gradient, 0.25 * gradient)


def test_teachers_of_pairs_change_the_gradient_and_not_the_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, IGNORE_INDEX, 1, 0])
    by = taught(0, torch.float64, 0.5)._replace(pairs=torch.randn(5, 2, dtype=torch.float64))
    ours, alone = classification_sums(logits, labels, by), classification_sums(logits, labels)
    for one, other in zip(ours, alone, strict=True):
        torch.testing.assert_close(one.detach(), other.detach())
    asked = labels != IGNORE_INDEX
    wanted = 0.5 * F.one_hot(labels[asked], 2) + 0.5 * by.pairs[asked].softmax(1)
    expected = -(wanted * logits[asked].log_softmax(1)).sum()
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(torch.autograd.grad(ours.nll, logits)[0], theirs)
    without = classification_sums(logits, labels, by._replace(pairs=None))
    assert torch.equal(without.nll, alone.nll)
