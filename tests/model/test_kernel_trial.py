"""The trial of the kernels: it passes here, and what fails it is switched off with a message."""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bert_lightning.model.kernels import available, trial

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float16
if DEVICE.type == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.mark.parametrize("kernel", trial.TRIALS)
def test_a_right_kernel_passes(kernel: str) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    assert trial.TRIALS[kernel](DEVICE, DTYPE) == ""


def test_a_wrong_kernel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from bert_lightning.model.kernels import cross_entropy

    right = cross_entropy.cross_entropy

    def wrong(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nll, correct, gradient = right(logits, labels)
        return nll, correct, gradient + 0.1

    monkeypatch.setattr(cross_entropy, "cross_entropy", wrong)
    assert trial.TRIALS["the cross-entropy"](DEVICE, DTYPE).startswith("results differ by 0.1")


def refuse(*_: object) -> str:
    raise RuntimeError("no such instruction\nand a long trace")


@pytest.mark.parametrize(
    ("result", "told"),
    [(refuse, "RuntimeError: no such instruction\n"), (lambda *_: "results differ", "differ\n")],
)
def test_what_fails_is_switched_off_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    result: Callable[..., str],
    told: str,
) -> None:
    monkeypatch.setattr(available, "_failures", [])
    monkeypatch.setattr(available, "find_spec", lambda _: "spec")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(available.shutil, "which", lambda _: "/usr/bin/gcc")
    monkeypatch.setattr(available.Path, "is_file", lambda _: True)
    monkeypatch.setattr(trial, "TRIALS", {"attention": result})
    monkeypatch.setattr(torch.random, "fork_rng", lambda _: torch.no_grad())
    available.triton_runs.cache_clear()
    gpu = torch.device("cuda", 0)
    try:
        assert available.triton_runs()
        trial.try_kernels(gpu)
        assert not available.triton_runs()
        trial.try_kernels(gpu)
    finally:
        available.triton_runs.cache_clear()
    assert caplog.text.count("the kernel of attention fails its trial on this GPU") == 1
    assert told in caplog.text


def test_the_cpu_has_nothing_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIALS", {"attention": refuse})
    trial.try_kernels(torch.device("cpu"))
