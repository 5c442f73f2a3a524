"""The Triton kernel of the cross-entropy against its plain definition, and when it is used.

Without a GPU, Triton's interpreter runs the kernel.
"""

import os
from typing import Any

import pytest
import torch

from bert_lightning.model import linear_cross_entropy
from bert_lightning.model.kernels import available
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum, with_aligned_logits

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the kernel, which reads 32 words at a time."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if DEVICE == "cpu" and os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("Triton's interpreter is off, as there is a GPU, but torch finds none")
    from bert_lightning.model.kernels import cross_entropy

    monkeypatch.setattr(cross_entropy, "_BLOCK", 32)
    return cross_entropy


def expected(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The loss, the right labels and the gradient in fp64, a row and a word at a time."""
    nll = correct = torch.zeros((), dtype=torch.float64)
    gradient = logits.double().softmax(1)
    for row, label, p in zip(logits.double(), labels, gradient, strict=True):
        nll = nll + (row.logsumexp(0) - row[label]).clamp(max=87.3365)
        if row[label] == row.max():
            correct = correct + 1 / (row == row.max()).sum()
        p[label] -= 1
    return nll, correct, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("words", [2, 31, 64, 70])
def test_it_computes_loss_ties_and_gradient(kernel: Any, words: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(5, words)).to(dtype)
    logits[1] = logits[1].round()  # many words are equally likely
    labels = torch.randint(words, (5,))
    labels[:2] = logits[:2].float().argmax(1)
    logits[2, labels[2]] = 200  # all but certain
    logits[3, labels[3]] = -200  # all but impossible
    theirs = expected(logits, labels)
    nll, correct, gradient = kernel.cross_entropy(logits.to(DEVICE), labels.to(DEVICE))
    assert gradient.dtype is dtype
    assert nll.item() == pytest.approx(theirs[0].item(), rel=1e-6)
    assert correct.item() == pytest.approx(theirs[1].item(), rel=1e-6)
    rounding = max(torch.finfo(dtype).eps, 1e-6)
    torch.testing.assert_close(gradient.double().cpu(), theirs[2], rtol=rounding, atol=1e-7)


def test_it_overwrites_the_logits(kernel: Any) -> None:
    logits = torch.randn(3, 50, device=DEVICE)
    *_, gradient = kernel.cross_entropy(logits, torch.tensor([4, 0, 49], device=DEVICE))
    assert gradient is logits
    torch.testing.assert_close(gradient.sum(1), torch.zeros(3, device=DEVICE), atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_not_hidden(kernel: Any, value: float) -> None:
    logits, labels = torch.zeros(1, 40, device=DEVICE), torch.tensor([7], device=DEVICE)
    logits[0, 35] = value
    assert linear_cross_entropy.cross_entropy(logits.clone(), labels)[0].isnan()
    assert kernel.cross_entropy(logits, labels)[0].isnan()


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("low", [False, True], ids=["fp32", "bf16"])
def test_the_head_is_the_same_with_it(
    kernel: Any, monkeypatch: pytest.MonkeyPatch, low: bool, rows: int
) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, device=DEVICE) for shape in ((rows, 8), (70, 8), (70,))]
    labels = torch.randint(70, (rows,), device=DEVICE)
    monkeypatch.setattr(linear_cross_entropy, "rows_on_gpu", lambda *_: 2)
    monkeypatch.setattr(linear_cross_entropy, "CHUNK", 2)

    def results() -> list[torch.Tensor]:
        each = [value.clone().requires_grad_() for value in inputs]
        with torch.autocast(DEVICE, torch.bfloat16, enabled=low):
            nll, correct = linear_cross_entropy_sum(*each, labels)
        return [nll.detach(), correct, *torch.autograd.grad(nll, each)]

    fused = results() if DEVICE == "cuda" else None
    monkeypatch.setattr(linear_cross_entropy, "triton_runs", lambda: False)
    plain = results()
    if fused is None:
        monkeypatch.setattr(linear_cross_entropy, "cross_entropy", kernel.cross_entropy)
        fused = results()
    tolerance = 0.02 if low else 1e-5
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_words_without_a_chance_change_nothing() -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape).double() for shape in ((6, 8), (70, 8), (70,)))
    labels, each = torch.randint(70, (6,)), [x, weight, bias]
    for value in each:
        value.requires_grad_()
    longer = with_aligned_logits(weight, bias)
    assert [len(value) for value in longer] == [128, 128]
    plain, aligned = (linear_cross_entropy_sum(x, *of, labels) for of in ((weight, bias), longer))
    assert aligned[1] == plain[1]
    torch.testing.assert_close(aligned[0], plain[0])
    theirs = torch.autograd.grad(plain[0], each)
    for ours, expected in zip(torch.autograd.grad(aligned[0], each), theirs, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_gpus_logits_are_a_gibibyte_at_most() -> None:
    assert linear_cross_entropy.rows_on_gpu(30_528, 2) == 16_384
    assert linear_cross_entropy.rows_on_gpu(30_528, 4) == 8793
    assert linear_cross_entropy.rows_on_gpu(250_000, 2) == 2147


def test_the_log_says_once_what_the_kernels_lack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = {"triton": None, "capability": (7, 5), "compiler": None, "header": False}
    monkeypatch.setattr(available, "find_spec", lambda _: found["triton"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: found["capability"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(available.shutil, "which", lambda _: found["compiler"])
    monkeypatch.setattr(available.Path, "is_file", lambda _: found["header"])
    available.triton_runs.cache_clear()
    for name, value, message in (
        ("triton", "spec", "Triton is not installed"),
        ("capability", (8, 0), "Tesla T4 has compute capability 7.5, and the kernels need 8.0"),
        ("compiler", "/usr/bin/gcc", "no C compiler: install gcc"),
        ("header", True, "Triton needs Python.h"),
    ):
        assert message in str(available.triton_lacks())
        found[name] = value
    assert available.triton_lacks() is None
    found["header"] = False
    assert not available.triton_runs()
    assert not available.triton_runs()
    assert caplog.text.count("so training is slower") == 1
    available.triton_runs.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA GPU")
def test_a_gpu_runs_the_kernel() -> None:
    assert available.triton_lacks() is None
