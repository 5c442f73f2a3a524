"""A run that stops and goes on is the run that never stopped: to the bit, from every step."""

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.errors import RunEnded
from bert_lightning.training import saving
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.run import FitResult, fit

Config = Callable[..., TrainConfig]
STEPS = 30
OPTIONS = (
    "data.global_batch_size=30",  # an epoch ends within a step
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=4",
    "trainer.val_check_interval=7",
    "callbacks.save_every_n_steps=1",
    "callbacks.save_top_k=99",
    "optim.warmup_steps=5",
    "trainer.gradient_clip_val=1.0",
    "model.hidden_dropout_prob=0.2",
    "model.attention_probs_dropout_prob=0.2",
)
CASES = [
    pytest.param(("32-true", 1, 0), id="fp32"),
    pytest.param(("bf16-mixed", 3, 0), id="bf16-accumulation"),
    pytest.param(("32-true", 3, 0), id="accumulation", marks=pytest.mark.slow),
    pytest.param(("32-true", 1, 2), id="workers", marks=pytest.mark.slow),
    pytest.param(("32-true", 3, 2), id="accumulation-workers", marks=pytest.mark.slow),
]


class Trace:
    """Follows what reaches the model, and sends a signal in the first micro-batch of a step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: dict[tuple[int, int], str] = {}
        self.losses: dict[tuple[int, int], float] = {}
        self.stop_in: int | None = None
        original = PretrainingModule.training_step

        def training_step(
            module: PretrainingModule, batch: PretrainBatch, batch_idx: int
        ) -> Tensor:
            if self.stop_in == module.global_step + 1:
                self.stop_in = None
                os.kill(os.getpid(), signal.SIGTERM)
            loss = original(module, batch, batch_idx)
            place = (module.global_step, batch_idx)
            digest = hashlib.sha256()
            for part in (*batch.sequences[:4], *batch[1:4]):
                digest.update(part.numpy().tobytes())
            self.batches[place], self.losses[place] = digest.hexdigest(), loss.item()
            return loss

        monkeypatch.setattr(PretrainingModule, "training_step", training_step)


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    monkeypatch.setattr(saving, "_NEWEST", 99)
    return Trace(monkeypatch)


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step={step:06d}.ckpt"


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Every number is equal to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, values in enumerate(zip(one, other, strict=True)):
            assert_same(*values, f"{where}/{place}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def state(path: Path, validated: bool = True) -> dict[str, Any]:
    """What a checkpoint holds of the training, without clocks and what says how it was begun.

    `validated=False` leaves out the validation after its step, as one that was stopped lacks it.
    """
    found = read(path)
    progress, names = found["bert_lightning"]["progress"], ["seconds", "seconds_since_log"]
    if not validated:
        names += ["validation_due", "val_loss"]
    for name in names:
        del progress[name]
    left_out = ("speed/",) if validated else ("speed/", "val/")
    for name in [name for name in progress["curves"] if name.startswith(left_out)]:
        del progress["curves"][name]
    del found["bert_lightning"]["config"]
    return found


def curves(result: FitResult) -> dict[str, Any]:
    return {name: curve for name, curve in result.curves.items() if not name.startswith("speed/")}


@pytest.mark.parametrize("case", CASES)
def test_a_resume_from_any_step_is_exact(
    small_config: Config, tmp_path: Path, trace: Trace, case: tuple[str, int, int]
) -> None:
    precision, accumulation, workers = case
    options = (
        *OPTIONS,
        f"trainer.precision={precision}",
        f"trainer.accumulate_grad_batches={accumulation}",
        f"data.num_workers={workers}",
    )
    whole = tmp_path / "whole"
    result = fit(small_config(whole, *options))
    assert result.epochs > 2
    batches, losses = dict(trace.batches), dict(trace.losses)
    assert len(batches) == STEPS * accumulation
    validated = [step for step, _ in result.curves["val/loss"]]
    assert validated == [7, 14, 21, 28, 30]

    stopped = tmp_path / "stopped"
    for step in range(1, STEPS):
        # From the checkpoint of the run that never stopped, one step and a stop.
        alone = tmp_path / "alone"
        if step + 1 < STEPS:
            checkpoint(alone, step).parent.mkdir(parents=True)
            shutil.copy(checkpoint(whole, step), checkpoint(alone, step))
            trace.stop_in = step + 1
            with pytest.raises(RunEnded, match=f"stopped at step {step + 1} by SIGTERM"):
                fit(small_config(alone, *options, "resume=auto"))
            before_validation = step + 1 in validated
            assert_same(
                state(checkpoint(alone, step + 1), not before_validation),
                state(checkpoint(whole, step + 1), not before_validation),
            )
            shutil.rmtree(alone)
        # And one run that is stopped in every step.
        trace.stop_in = step
        with pytest.raises(RunEnded, match=f"stopped at step {step} by SIGTERM") as ended:
            fit(small_config(stopped, *options, "resume=auto"))
        assert ended.value.exit_code == 143
    last = fit(small_config(stopped, *options, "resume=auto"))
    assert_same(state(checkpoint(stopped, STEPS)), state(checkpoint(whole, STEPS)))
    assert curves(last) == curves(result)
    assert trace.batches == batches
    assert trace.losses == losses
