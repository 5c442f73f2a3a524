"""What `docs/textbook.md` says of the book's loss holds, computed in its way and in ours."""

import torch
from torch.nn.functional import cross_entropy


def test_weights_that_multiply_a_mean_cancel() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 7), torch.randint(7, (10,))
    weights = torch.tensor([1.0] * 6 + [0.0] * 4)  # four empty slots
    book = (cross_entropy(logits, labels) * weights).sum() / (weights.sum() + 1e-8)
    every_slot = cross_entropy(logits, labels)
    masked_alone = cross_entropy(logits[:6], labels[:6])
    repaired = cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(book, every_slot)
    torch.testing.assert_close((repaired * weights).sum() / weights.sum(), masked_alone)
    assert abs(book - masked_alone) > 0.01


def test_the_exercise_on_the_two_losses() -> None:
    """A guess among 20,256 words, and one among two labels, in nats."""
    for choices, nats in ((20_256, 9.9), (2, 0.7)):
        guess = cross_entropy(torch.zeros(1, choices), torch.tensor([0]))
        assert round(float(guess), 1) == nats
