"""What a person sees during a run."""

import io
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import LambdaCallback
from rich.console import Console

from bert_lightning import work
from bert_lightning.config import TrainConfig
from bert_lightning.training import progress_bar
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]


def test_plain_lines_with_both_losses_where_there_is_no_terminal(
    small_config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_bar, "_SECONDS_BETWEEN_LINES", 0.0)
    result = fit(small_config(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    training = [line for line in lines if "pairs/s" in line]
    validation = [line for line in lines if "validation" in line]
    assert [line.split()[1] for line in training] == [f"{step}/6" for step in range(1, 7)]
    assert [line.split()[1] for line in validation] == ["3/6", "6/6"]
    assert f"MLM {result.curves['train/mlm_loss'][0][1]:.3f}  NSP" in training[0]
    assert result.validation is not None
    assert f"(baseline {result.validation.baselines.mlm_loss:.3f})" in validation[0]


def test_a_bar_with_both_losses_on_a_terminal(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80)
    for module in (work, progress_bar):
        monkeypatch.setattr(module, "bar_console", lambda: terminal)
    monkeypatch.setattr(work, "_SECONDS_BEFORE_BAR", 0)
    monkeypatch.setattr(work, "_SECONDS_BETWEEN_LOOKS", 0.05)
    slow = LambdaCallback(on_train_batch_end=lambda *_: time.sleep(0.2))  # for several looks
    with caplog.at_level(logging.INFO):
        result = fit(small_config(tmp_path), callbacks=[slow])
    losses = [f"MLM {value:.3f}" for _, value in result.curves["train/mlm_loss"]]
    assert any(f"/6  {loss}  NSP" in screen.getvalue() for loss in losses)
    assert "pretraining" in screen.getvalue()


def test_no_progress_where_it_is_switched_off(
    small_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(small_config(tmp_path, "trainer.enable_progress_bar=false"))
    assert "step" not in capsys.readouterr().out


def test_a_step_that_takes_long_is_no_silence() -> None:
    trainer: Any = SimpleNamespace(global_step=3, accumulate_grad_batches=4)
    curves = {"train/mlm_loss": [(2, 6.5)], "work/pairs_per_second": [(2, 80.0)]}
    module: Any = SimpleNamespace(
        title="pretraining", unit="pairs", losses=[1, 1], config=SimpleNamespace(weights=["mlm"]),
        progress=SimpleNamespace(steps=9, curves=curves),
    )  # fmt: skip
    training = progress_bar.TrainingWork(trainer, module)
    training.update()
    assert training.line() == "step 3/9  MLM 6.500  80 pairs/s"
    assert re.fullmatch(r"step 3/9  next: micro-batch 3 of 4, \d s so far", training.line())
    module.losses += [1, 1]
    assert re.fullmatch(r"step 3/9  next: the update, \d s so far", training.line())
    trainer.global_step = 4
    training.update()
    assert training.line().startswith("step 4/9  MLM 6.500")
    assert re.fullmatch(r"4/9  MLM 6.500  80 pairs/s  \d+ s left", training.status())
    module.progress.steps = progress_bar.UNKNOWN_STEPS
    training.update()
    assert training.status() == "4/…  MLM 6.500  80 pairs/s"
