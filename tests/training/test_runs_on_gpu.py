"""Whole runs on CUDA against the same on the CPU, and resumed there; skipped without a GPU."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from left_behind import assert_same, checkpoint, state

from bert_lightning.config import TrainConfig
from bert_lightning.training.fit import FitResult, fit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
Config = Callable[..., TrainConfig]


def on(accelerator: str, precision: str, *more: str) -> list[str]:
    return [f"trainer.accelerator={accelerator}", f"trainer.precision={precision}", *more]


def losses(result: FitResult, name: str = "train/loss") -> list[float]:
    return [value for _, value in result.curves[name]]


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("64-true", 1e-9), ("32-true", 1e-4), ("bf16-mixed", 0.02)]
)
@pytest.mark.parametrize("arch", ["bert", "modern"])
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_a_run_has_the_losses_of_the_cpu(
    small_config: Config, tmp_path: Path, precision: str, tolerance: float, arch: str, optim: str
) -> None:
    more = (f"arch={arch}", f"optim={optim}", "optim.warmup_steps=0", "optim.lr=1e-3")
    if optim == "muon":  # it makes matrices orthogonal in bf16, whatever the precision of the run
        tolerance = max(tolerance, 1e-3)
    exact = "64-true" if precision == "64-true" else "32-true"
    ours = fit(small_config(tmp_path / "gpu", *on("gpu", precision, *more)))
    theirs = fit(small_config(tmp_path / "cpu", *on("cpu", exact, *more)))
    for name in ("train/loss", "val/loss", "val/nsp_loss"):
        assert losses(ours, name) == pytest.approx(losses(theirs, name), rel=tolerance)


@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp"])
def test_a_resumed_run_is_the_one_that_never_stopped(
    small_config: Config, tmp_path: Path, strategy: str
) -> None:
    options = on("gpu", "bf16-mixed", f"strategy={strategy}", "trainer.devices=1")
    options += ["trainer.deterministic=true", "model.hidden_dropout_prob=0.2"]
    options += ["callbacks.every_n_train_steps=3"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    fit(small_config(whole, *options))
    shutil.copytree(whole, part)
    for path in part.glob("checkpoints/step=000006*"):
        path.unlink()
    fit(small_config(part, *options, f"resume={part}"))
    assert_same(state(checkpoint(part, 6)), state(checkpoint(whole, 6)))
