"""The contrastive loss against plain lines, and that it is the same for any division of a step."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.finetuning.sentences.contrastive import contrastive_sums

TEMPERATURE = 0.05


def unit_vectors(pairs: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return F.normalize(torch.randn(2 * pairs, 8, dtype=torch.float64), dim=1)


def plain(first: list[Tensor], second: list[Tensor], texts: list[int]) -> float:
    """The loss of one group in loops: -log of the softmax at the pair's own second text."""
    total = torch.zeros((), dtype=torch.float64)
    for i, anchor in enumerate(first):
        own = (anchor @ second[i] / TEMPERATURE).exp()
        others = [
            (anchor @ second[j] / TEMPERATURE).exp()
            for j in range(len(second))
            if texts[j] != texts[i]
        ]
        total -= (own / (own + sum(others))).log()
    return float(total)


@pytest.mark.parametrize("texts", [[0, 1, 2, 3, 4, 5], [0, 1, 0, 2, 0, 2]], ids=["all", "equal"])
@pytest.mark.parametrize("group", [6, 3, 2])
def test_the_loss_is_that_of_plain_lines(group: int, texts: list[int]) -> None:
    vectors = unit_vectors(6)
    sums = contrastive_sums(vectors, torch.tensor(texts), group, TEMPERATURE)
    first, second = list(vectors[0::2]), list(vectors[1::2])
    expected = sum(
        plain(first[a : a + group], second[a : a + group], texts[a : a + group])
        for a in range(0, 6, group)
    )
    assert float(sums.nll) == pytest.approx(expected, rel=1e-12)
    assert int(sums.labels) == 6


def test_whole_groups_add_up_to_the_batch() -> None:
    vectors, texts = unit_vectors(12), torch.arange(12)
    whole = contrastive_sums(vectors, texts, 3, TEMPERATURE)
    parts = [
        contrastive_sums(vectors[2 * a : 2 * b], texts[a:b], 3, TEMPERATURE)
        for a, b in ((0, 3), (3, 9), (9, 12))
    ]
    torch.testing.assert_close(sum(part.nll for part in parts), whole.nll)
    assert sum(int(part.correct) for part in parts) == int(whole.correct)


def test_pairs_that_are_equal_are_found_and_pairs_that_are_opposite_are_not() -> None:
    texts = torch.arange(4)
    first = F.normalize(torch.eye(4, 8) + 0.1, dim=1)
    for second, found in ((first, 4), (-first, 0)):
        vectors = torch.stack([first, second], 1).flatten(0, 1)
        assert int(contrastive_sums(vectors, texts, 4, TEMPERATURE).correct) == found


def test_the_cosines_keep_their_precision_under_autocast() -> None:
    vectors, texts = unit_vectors(6).float(), torch.arange(6)
    expected = contrastive_sums(vectors, texts, 6, TEMPERATURE).nll
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_sums(vectors, texts, 6, TEMPERATURE).nll, expected)
