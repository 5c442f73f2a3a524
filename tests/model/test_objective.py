"""The joint loss against the textbook formula, and its exactness under every division."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch, pack_sequences
from bert_lightning.config import ModelConfig, ObjectiveConfig
from bert_lightning.extensions import extension
from bert_lightning.model import linear_cross_entropy
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import (
    Encoded,
    Sums,
    classification_sums,
    joint_loss,
    linear_cross_entropy_sum,
    own_objectives,
)

VOCAB = 60


def model() -> BertForPreTraining:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    return BertForPreTraining(config, VOCAB).double()


def batches(sizes: list[int]) -> list[PretrainBatch]:
    """32 examples of lengths from 5 to 100, divided into batches of these sizes."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 101, 32)
    ids = [rng.integers(5, VOCAB, n) for n in lengths]
    places = [np.sort(rng.choice(n, max(1, round(n * 0.15)), replace=False)) for n in lengths]
    next_labels = rng.integers(0, 2, 32)
    masked = sum(map(len, places))
    made, first = [], 0
    for size in sizes:
        chosen = range(first, first + size)
        first += size
        starts = np.cumsum([0, *(lengths[i] for i in chosen)])
        flat = np.concatenate([ids[i] for i in chosen])
        positions = np.concatenate([places[i] + s for i, s in zip(chosen, starts, strict=False)])
        made.append(
            PretrainBatch(
                pack_sequences(flat, flat % 2, lengths[list(chosen)]),
                torch.from_numpy(positions),
                torch.from_numpy((flat[positions] * 7) % VOCAB),
                {"nsp": torch.from_numpy(next_labels[list(chosen)])},
                {"mlm": masked, "nsp": 32},
            )
        )
    return made


def gradients(sizes: list[int], config: ObjectiveConfig) -> tuple[torch.Tensor, torch.Tensor]:
    bert = model()
    loss = torch.zeros((), dtype=torch.float64)
    for batch in batches(sizes):
        part = joint_loss(bert.sums(batch), batch.global_counts, config.weights)
        part.backward()
        loss += part.detach()
    return loss, torch.cat([p.grad.flatten() for p in bert.parameters()])


@pytest.mark.parametrize("sizes", [[8] * 4, [4] * 8, [1] * 32, [31, 1]])
def test_loss_and_gradient_are_the_same_however_the_global_batch_is_divided(
    sizes: list[int],
) -> None:
    config = ObjectiveConfig(mlm_weight=1.0, nsp_weight=0.7)
    whole, divided = gradients([32], config), gradients(sizes, config)
    torch.testing.assert_close(divided[0], whole[0], rtol=1e-12, atol=0)
    assert ((divided[1] - whole[1]).norm() / whole[1].norm()).item() < 1e-10


def test_the_loss_is_the_weighted_sum_of_the_two_means() -> None:
    bert, (batch,) = model(), batches([32])
    encoded = bert(batch.sequences)
    mlm_logits = bert.mlm_head(encoded.hidden[batch.masked_positions])
    nsp_logits = bert.nsp_head(encoded.pooled)
    mlm = F.cross_entropy(mlm_logits, batch.masked_labels)
    nsp = F.cross_entropy(nsp_logits, batch.nsp_labels)
    sums = bert.sums(batch)
    loss = joint_loss(
        sums, batch.global_counts, ObjectiveConfig(mlm_weight=2.0, nsp_weight=0.5).weights
    )
    torch.testing.assert_close(loss, 2 * mlm + 0.5 * nsp)
    correct = (mlm_logits.argmax(-1) == batch.masked_labels).sum()
    assert sums["mlm"].correct == correct
    assert sums["nsp"].correct == (nsp_logits.argmax(-1) == batch.nsp_labels).sum()


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 30])
def test_chunked_cross_entropy_equals_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_cross_entropy, "CHUNK", 8)
    torch.manual_seed(0)
    x = torch.randn(rows, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(VOCAB, 16, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(VOCAB, dtype=torch.float64, requires_grad=True)
    logits = F.linear(x, weight, bias)
    labels = torch.randint(0, VOCAB, (rows,))
    labels[::2] = logits.argmax(-1)[::2]  # half of them are right
    nll, correct = linear_cross_entropy_sum(x, weight, bias, labels)
    expected = F.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(nll, expected)
    assert correct == (logits.argmax(-1) == labels).sum()
    assert not correct.requires_grad
    ours = torch.autograd.grad(3 * nll, [x, weight, bias])
    theirs = torch.autograd.grad(3 * expected, [x, weight, bias])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_under_bf16_the_loss_is_near_and_the_gradients_have_the_parameters_types() -> None:
    torch.manual_seed(0)
    x = torch.randn(600, 64, requires_grad=True)
    weight = (torch.randn(VOCAB, 64) * 0.1).requires_grad_()
    bias = torch.zeros(VOCAB, requires_grad=True)
    labels = torch.randint(0, VOCAB, (600,))
    exact, _ = linear_cross_entropy_sum(x, weight, bias, labels)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = linear_cross_entropy_sum(x, weight, bias, labels)
    assert rough.dtype is torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=2e-3)
    (rough / 600).backward()
    assert x.grad.dtype is weight.grad.dtype is bias.grad.dtype is torch.float32
    (expected,) = torch.autograd.grad(exact / 600, weight)
    assert ((weight.grad - expected).norm() / expected.norm()).item() < 0.02


def test_autocast_is_the_same_as_16_bit_vectors_by_hand() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(20, 8), torch.randn(VOCAB, 8)
    labels = torch.randint(0, VOCAB, (20,))

    def results(x: torch.Tensor, weight: torch.Tensor, bf16: bool) -> list[torch.Tensor]:
        x, weight = x.requires_grad_(), weight.requires_grad_()
        bias = torch.zeros(VOCAB, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            nll, correct = linear_cross_entropy_sum(x, weight, bias, labels)
        gradients = torch.autograd.grad(nll, [x, weight, bias])
        return [nll, correct, *(gradient.float() for gradient in gradients)]

    by_hand = results(x.bfloat16(), weight.bfloat16(), bf16=False)
    for ours, theirs in zip(results(x, weight, bf16=True), by_hand, strict=True):
        assert torch.equal(ours, theirs.to(ours.dtype))


def test_the_vocabularys_gradient_is_summed_over_chunks_in_32_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(600, 8).bfloat16(), torch.randint(0, VOCAB, (600,))
    weight, bias = torch.randn(VOCAB, 8, requires_grad=True), torch.zeros(VOCAB)

    def gradient(chunk: int) -> torch.Tensor:
        monkeypatch.setattr(linear_cross_entropy, "CHUNK", chunk)
        with torch.autocast("cpu", torch.bfloat16):
            nll, _ = linear_cross_entropy_sum(x, weight, bias, labels)
        return torch.autograd.grad(nll, weight)[0]

    whole = gradient(600)
    assert ((gradient(2) - whole).norm() / whole.norm()).item() < 0.005


def test_the_count_of_equally_likely_words_is_exact_in_16_bits_too() -> None:
    x, labels = torch.ones(1, 1).bfloat16(), torch.tensor([0])
    weight, bias = torch.ones(301, 1).bfloat16(), torch.zeros(301)
    _, correct = linear_cross_entropy_sum(x, weight, bias, labels)
    assert correct.item() == pytest.approx(1 / 301, rel=1e-6)


def test_sequences_without_a_label_count_nothing() -> None:
    logits = torch.tensor([[1.0, 3.0], [2.0, 0.0], [5.0, 1.0]])
    labels = torch.tensor([1, IGNORE_INDEX, 1])
    some = classification_sums(logits, labels)
    labelled = classification_sums(logits[[0, 2]], labels[[0, 2]])
    assert [value.item() for value in some] == [value.item() for value in labelled]
    assert (some.correct.item(), some.labels.item()) == (1, 2)
    assert torch.isfinite(classification_sums(logits, torch.full((3,), IGNORE_INDEX)).nll)


@pytest.mark.parametrize(("count", "loss"), [(0, 0.0), (1, 3.0), (2, 1.5)])
def test_a_global_batch_of_few_labels_or_none_has_their_mean(count: int, loss: float) -> None:
    nll = torch.tensor(3.0 if count else 0.0)
    sums = {"mlm": Sums(nll, torch.tensor(0), torch.tensor(count))}
    batch = batches([1])[0]._replace(global_counts={"mlm": count})
    assert joint_loss(sums, batch.global_counts, ObjectiveConfig().weights).item() == loss


def test_a_label_among_equally_high_logits_is_a_part_of_one_right() -> None:
    logits = torch.tensor([[2.0, 2, 1, 2], [0, 3, 3, 0], [1, 0, 0, 0]], dtype=torch.float64)
    labels = torch.tensor([0, 2, 1])  # among three highest, among two, not among them
    x, weight = torch.eye(3, dtype=torch.float64), logits.T.contiguous()
    _, correct = linear_cross_entropy_sum(x, weight, torch.zeros(4, dtype=torch.float64), labels)
    assert correct.item() == pytest.approx(1 / 3 + 1 / 2)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_label_that_is_all_but_impossible_costs_much_and_not_infinitely_much(bf16: bool) -> None:
    x = torch.tensor([[500.0]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        nll, _ = linear_cross_entropy_sum(x, weight, bias, torch.tensor([1]))
    nll.backward()
    assert nll.item() == pytest.approx(87.3, abs=0.1)
    assert x.grad.item() == 2  # that of the true loss, 1000


def test_the_heads_memory_does_not_grow_with_masked_tokens_times_vocabulary() -> None:
    def peak(masked: int, dtype: torch.dtype = torch.float32, learns: bool = True) -> int:
        """The largest tensor that is made on the way to the gradients, in bytes."""
        x = torch.randn(masked, 8, requires_grad=learns, dtype=dtype)
        weight = torch.randn(2000, 8, requires_grad=learns, dtype=dtype)
        bias = torch.zeros(2000, requires_grad=learns)
        labels, largest = torch.randint(0, 2000, (masked,)), 0

        def place(tensor: torch.Tensor) -> int:
            return tensor.untyped_storage().data_ptr()

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(
                self, func: Any, types: Any, args: Any, kwargs: Any = None
            ) -> Any:
                nonlocal largest
                result = func(*args, **(kwargs or {}))
                made = result if isinstance(result, tuple | list) else [result]
                for tensor in made:
                    if isinstance(tensor, torch.Tensor) and place(tensor) != place(weight):
                        largest = max(largest, tensor.nbytes)
                return result

        with Watch():
            nll, _ = linear_cross_entropy_sum(x, weight, bias, labels)
            if learns:
                nll.backward()
        return largest

    rows = linear_cross_entropy.CHUNK
    chunk = rows * 2000
    assert peak(4 * rows) == peak(16 * rows) == 4 * chunk
    assert peak(4 * rows, torch.bfloat16) == 2 * chunk
    assert peak(1, learns=False) == 4 * 2000  # the logits, and no gradients


def test_without_gradients_none_are_made() -> None:
    bert, (batch,) = model(), batches([32])

    def flops() -> int:
        with FlopCounterMode(display=False) as counter:
            bert.sums(batch)
        return counter.get_total_flops()

    with torch.no_grad():
        forward = flops()
        assert not bert.sums(batch)["mlm"].nll.requires_grad
    with torch.inference_mode():
        assert flops() == forward
    head = 2 * len(batch.masked_labels) * 16 * VOCAB
    assert flops() == forward + 2 * head  # its two gradients are made on the way
    bert.requires_grad_(False)
    assert flops() == forward


@extension("objective")
class ManySegments(nn.Linear):
    """An objective of one's own: whether a sequence has more than 50 tokens."""

    def __init__(self, config: ModelConfig, words: nn.Embedding) -> None:
        super().__init__(config.hidden_size, 2)

    def sums(self, encoded: Encoded, batch: PretrainBatch) -> Sums:
        return classification_sums(
            self(encoded.pooled), torch.from_numpy(batch.sequences.lengths > 50).long()
        )


def test_objectives_of_your_own_come_last_and_change_no_other_weight() -> None:
    own = own_objectives(ObjectiveConfig(own=[f"{__name__}:ManySegments"], own_weights=[0.5]))
    assert own == {"ManySegments": ManySegments}
    assert own_objectives(ObjectiveConfig()) == {}
    config = ModelConfig(hidden_size=16, num_attention_heads=2, initializer_range=0.2)
    torch.manual_seed(0)
    plain = BertForPreTraining(config, VOCAB)
    torch.manual_seed(0)
    extended = BertForPreTraining(config, VOCAB, own)
    assert list(extended.objectives) == ["mlm", "nsp", "ManySegments"]
    weights = dict(extended.named_parameters())
    for name, value in plain.named_parameters():
        assert torch.equal(weights.pop(name), value)
    weight, bias = weights.values()
    assert weight.std().item() == pytest.approx(0.2, rel=0.4)
    assert not bias.any()
