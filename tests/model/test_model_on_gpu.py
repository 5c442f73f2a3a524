"""The encoder and the MLM head on CUDA against the same on the CPU; skipped without a GPU."""

from typing import Any

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from test_bert import LENGTHS, MODERN, small_model, some_sequences

from bert_lightning.model.objective import linear_cross_entropy_sum

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
on_both_kinds = pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])


def outputs(
    kind: dict[str, Any], device: str, dtype: torch.dtype, autocast: bool = False
) -> list[torch.Tensor]:
    """The encoder's vectors and the gradients of a fixed sum of them, in fp64 on the CPU."""
    model = small_model(**kind).to(device, dtype)
    sequences = move_data_to_device(some_sequences(LENGTHS * 20), device)
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


@on_both_kinds
def test_flash_attention_in_bf16_is_as_exact_as_the_buckets_are(kind: dict[str, Any]) -> None:
    expected = outputs(kind, "cpu", torch.float64)
    flash = outputs(kind, "cuda", torch.float32, autocast=True)
    buckets = outputs(kind, "cpu", torch.float32, autocast=True)
    for ours, theirs, exact in zip(flash, buckets, expected, strict=True):
        assert distance(ours, exact) < max(0.02, 1.5 * distance(theirs, exact))


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
