"""The encoder and the MLM head on CUDA against the same on the CPU; skipped without a GPU."""

from typing import Any

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from test_bert import LENGTHS, MODERN, small_model, some_sequences

from bert_lightning.batch import Taught
from bert_lightning.config import ModelConfig
from bert_lightning.model.attention_paths import choose_attention
from bert_lightning.model.kernels.available import triton_lacks
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
on_both_kinds = pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])


def outputs(
    kind: dict[str, Any],
    device: str,
    dtype: torch.dtype,
    autocast: bool = False,
    lengths: list[int] = LENGTHS * 20,
) -> list[torch.Tensor]:
    """The encoder's vectors and the gradients of a fixed sum of them, in fp64 on the CPU."""
    model = small_model(**kind).to(device, dtype)
    sequences = move_data_to_device(some_sequences(lengths), device)
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        hidden = model(sequences).hidden
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1)).to(device)
    gradients = torch.autograd.grad((hidden * weights).sum(), list(model.encoder.parameters()))
    return [value.double().cpu() for value in (hidden, *gradients)]


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative, over the whole tensor."""
    return ((a - b).norm() / b.norm().clamp(min=1e-9)).item()


@on_both_kinds
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 2e-5)], ids=["fp64", "fp32"]
)
def test_the_encoder_and_its_gradients_are_those_of_the_cpu(
    kind: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    expected = outputs(kind, "cpu", torch.float64)
    for ours, theirs in zip(outputs(kind, "cuda", dtype), expected, strict=True):
        assert distance(ours, theirs) < tolerance


LENGTHS_OF = {
    "Tiles": [*LENGTHS, 33, 64, 65, 127, 128] * 8,
    "Dense": [256] * 8,
    "Flash": [129, 5, 200, 64] * 8,
}
on_every_path = pytest.mark.parametrize("path", LENGTHS_OF)


def attention(path: str) -> Any:
    """Of a batch that takes this path in bf16, with heads of 16."""
    config = ModelConfig(hidden_size=32, num_attention_heads=2)
    sequences = some_sequences(LENGTHS_OF[path]).on(torch.device("cuda"))
    x = torch.zeros(len(sequences.token_ids), 32, dtype=torch.bfloat16, device="cuda")
    found = choose_attention(sequences, x, config)
    if path == "Tiles" and triton_lacks():
        pytest.skip("Triton does not run here")
    assert type(found).__name__ == path
    return found


@on_both_kinds
@on_every_path
def test_each_attention_in_bf16_is_as_exact_as_the_buckets_are(
    kind: dict[str, Any], path: str
) -> None:
    attention(path)
    lengths = LENGTHS_OF[path]
    kind = {**kind, "num_attention_heads": 2, "max_position_embeddings": 256}
    expected = outputs(kind, "cpu", torch.float64, lengths=lengths)
    fast = outputs(kind, "cuda", torch.float32, autocast=True, lengths=lengths)
    buckets = outputs(kind, "cpu", torch.float32, autocast=True, lengths=lengths)
    for ours, theirs, exact in zip(fast, buckets, expected, strict=True):
        assert distance(ours, exact) < max(0.02, 1.5 * distance(theirs, exact))


@on_every_path
def test_dropout_keeps_the_mean_and_follows_from_torchs_generator(path: str) -> None:
    torch.manual_seed(0)
    ends, total = attention(path), sum(LENGTHS_OF[path])
    qkv = torch.randn(total, 3, 2, 16, dtype=torch.bfloat16, device="cuda")
    plain = ends.attend(qkv, 0.0).float()
    draws = torch.stack([ends.attend(qkv, 0.3).float() for _ in range(400)])
    spread = draws.std(0)
    assert spread.mean() > 0
    error = (draws.mean(0) - plain).abs() / (spread / 400**0.5 + 2**-8 * plain.abs() + 1e-3)
    assert error.max() < 6  # standard errors, beside the rounding of bf16
    torch.manual_seed(1)
    first = ends.attend(qkv, 0.3)
    assert not torch.equal(first, ends.attend(qkv, 0.3))
    torch.manual_seed(1)
    assert torch.equal(first, ends.attend(qkv, 0.3))


def test_the_gradient_of_tiles_is_the_same_each_time_and_the_host_never_waits() -> None:
    ends, total = attention("Tiles"), sum(LENGTHS_OF["Tiles"])
    qkv = torch.randn(total, 3, 2, 16, dtype=torch.bfloat16, device="cuda", requires_grad=True)

    def gradient() -> torch.Tensor:
        torch.manual_seed(1)
        return torch.autograd.grad(ends.attend(qkv, 0.3).float().square().sum(), qkv)[0]

    expected = gradient()  # compiles
    sequences = some_sequences(LENGTHS_OF["Tiles"]).on(torch.device("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        type(ends).of(sequences)
        again = [gradient() for _ in range(5)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(each, expected) for each in again)


@pytest.mark.parametrize("low", [False, True], ids=["fp32", "bf16"])
def test_the_vocabulary_is_scored_as_torch_does(low: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape) * 0.2 for shape in ((1200, 64), (3000, 64), (3000,)))
    labels = torch.randint(3000, (1200,))
    exact = [value.double().requires_grad_() for value in (x, weight, bias)]
    logits = exact[0] @ exact[1].T + exact[2]
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    grads = torch.autograd.grad(expected, exact)
    ours = [value.cuda().requires_grad_() for value in (x, weight, bias)]
    with torch.autocast("cuda", torch.bfloat16, enabled=low):
        nll, correct = linear_cross_entropy_sum(*ours, labels.cuda())
    assert nll.item() == pytest.approx(expected.item(), rel=1e-3 if low else 1e-5)
    right = int((logits.argmax(1) == labels).sum())
    assert correct.item() == pytest.approx(right, abs=0.1 * right + 2 if low else 0)
    for a, b in zip(torch.autograd.grad(nll, ours), grads, strict=True):
        assert distance(a.double().cpu(), b) < (0.02 if low else 1e-4)


@pytest.mark.parametrize("low", [False, True], ids=["fp32", "bf16"])
def test_teachers_change_the_gradient_as_on_the_cpu(low: bool) -> None:
    torch.manual_seed(0)
    values = [torch.randn(*shape) * 0.2 for shape in ((1200, 64), (3000, 64), (3000,))]
    theirs = [torch.randn(*shape) * 0.2 for shape in ((1200, 96), (3000, 96), (3000,))]
    labels = torch.randint(3000, (1200,))

    def gradients(device: str, low: bool) -> list[torch.Tensor]:
        ours = [value.to(device).requires_grad_() for value in values]
        taught = Taught(*(value.to(device) for value in theirs), pairs=None, fraction=0.5)
        with torch.autocast(device, torch.bfloat16, enabled=low):
            nll, _ = linear_cross_entropy_sum(*ours, labels.to(device), taught)
        return [each.double().cpu() for each in torch.autograd.grad(nll, ours)]

    for a, b in zip(gradients("cuda", low), gradients("cpu", low=False), strict=True):
        assert distance(a, b) < (0.02 if low else 1e-4)
