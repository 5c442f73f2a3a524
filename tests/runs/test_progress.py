"""What a person sees during a run."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

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
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress_bar, "Console", lambda: terminal)
    result = fit(small_config(tmp_path))
    assert "6/6" in screen.getvalue()
    assert f"MLM {result.curves['train/mlm_loss'][-1][1]:.3f}" in screen.getvalue()


def test_no_progress_where_it_is_switched_off(
    small_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(small_config(tmp_path, "trainer.enable_progress_bar=false"))
    assert "step" not in capsys.readouterr().out
