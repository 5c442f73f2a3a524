"""The model that a run reports is the one that `load` takes from it; another last one is said."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from left_behind import checkpoint
from torch import Tensor, nn

from bert_lightning.api.result import read_result
from bert_lightning.config import TrainConfig
from bert_lightning.errors import RunEnded
from bert_lightning.evaluation.evaluation import evaluate
from bert_lightning.inference.loaded import load
from bert_lightning.inference.model_card import model_card
from bert_lightning.pretrained.sources import build, open_source
from bert_lightning.reports.run_report import loaded, report
from bert_lightning.reports.summary import summarize
from bert_lightning.training import fit as fit_module
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.saving import tidy

Config = Callable[..., TrainConfig]
WORSE = ("optim.lr=0.3", "trainer.max_steps=30", "trainer.val_check_interval=1")
"""A rate at which the validation loss soon rises."""
PATIENCE = "callbacks.early_stopping_patience=2"


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def best_step(result: FitResult) -> int:
    """The step of the lowest validation loss."""
    return min(result.curves["val/loss"], key=lambda point: point[1])[0]


def summary_of(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    assert isinstance(summary, dict)
    return summary


@pytest.mark.parametrize(
    "more",
    [(), pytest.param(("optim.ema_decay=0.5",), marks=pytest.mark.slow)],
    ids=["weights", "average"],
)
def test_a_run_that_ends_early_names_its_best_model_and_scores_both(
    small_config: Config, tmp_path: Path, more: tuple[str, ...]
) -> None:
    test = ("test=true", "data.test_fraction=0.1")
    result = fit(small_config(tmp_path, *WORSE, PATIENCE, *test, *more))
    step, said = best_step(result), report(result)
    assert 1 <= step < result.steps < 30
    assert f"ended       at step {result.steps}: no lower loss in 2 validations in a row" in said
    assert f"best        is step {step}, whose validation loss is the lowest" in said
    summary, bert = summary_of(tmp_path), load(tmp_path)
    assert summary["steps"] == result.steps
    assert summary["early_end"] == result.progress.early_end
    assert summary["loaded"]["step"] == step
    losses = dict(result.curves["val/mlm_loss"])
    assert summary["loaded"]["validation"]["mlm_loss"] == losses[step]
    assert summary["validation"]["mlm_loss"] == losses[result.steps]
    assert f"validation  MLM loss {losses[result.steps]:.3f}" in said
    assert f"best        MLM loss {losses[step]:.3f}" in said
    assert said.count("test        MLM loss") == said.count("best, test  MLM loss") == 1

    assert bert.origin == str(checkpoint(tmp_path, step))
    assert torch.equal(weights(bert.model), weights(loaded(result).model))
    assert not torch.equal(weights(bert.model), weights(result.model))
    source = open_source(tmp_path)
    for split in ("validation", "test"):
        again = evaluate(source, result.corpus, result.config.batch, split)
        assert summary["loaded"][split]["mlm_loss"] == pytest.approx(again.mlm.all.loss, rel=1e-4)
        assert summary["loaded"][split]["mlm_accuracy"] == pytest.approx(again.mlm.all.accuracy)

    card = model_card("small", source, build(source))
    assert f"On the validation split, after step {step}" in card
    assert f"| {losses[step]:.3f} |" in card
    assert f"| {losses[result.steps]:.3f} |" not in card
    assert f"MLM loss {losses[step]:.3f}" in repr(read_result(tmp_path))


def test_of_equal_losses_the_first_is_the_best(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (2, 4, 6, 8):
        checkpoint(tmp_path, step).touch()
        manifest = {"bytes": 0, "sha256": "", "val_loss": 2.0 if step == 2 else 1.0}
        Path(f"{checkpoint(tmp_path, step)}.json").write_text(json.dumps(manifest))
    tidy(folder, top_k=1)
    assert (folder / "best.ckpt").resolve() == checkpoint(tmp_path, 4)
    assert {file.name for file in folder.glob("step=*.ckpt")} == {
        f"step={step:06d}.ckpt" for step in (4, 6, 8)
    }


@pytest.mark.slow
def test_the_card_of_a_checkpoint_without_scores_has_none(
    small_config: Config, tmp_path: Path
) -> None:
    result = fit(small_config(tmp_path, *WORSE, PATIENCE, "callbacks.every_n_train_steps=1"))
    report(result)
    last = open_source(checkpoint(tmp_path, result.steps))
    assert f"after step {result.steps}" in model_card("small", last, build(last))
    between = open_source(checkpoint(tmp_path, result.steps - 1))
    assert result.steps - 1 != best_step(result)
    assert "## Scores" not in model_card("small", between, build(between))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("callbacks.save_top_k=0", PATIENCE),
        ("trainer.limit_val_batches=0", "trainer.max_steps=3"),
        ("optim.lr=1e-3", "trainer.max_steps=6"),
    ],
    ids=["no best is kept", "no validation", "the last is the best"],
)
def test_a_run_whose_last_model_is_loaded_names_no_other(
    small_config: Config, tmp_path: Path, options: tuple[str, ...]
) -> None:
    result = fit(small_config(tmp_path, *WORSE, *options))
    said, summary = report(result), summary_of(tmp_path)
    assert result.best is None
    assert "best        " not in said
    assert summary["loaded"]["step"] == result.steps
    assert summary["loaded"].get("validation") == summary.get("validation")
    assert torch.equal(weights(load(tmp_path).model), weights(result.model))


@pytest.mark.slow
def test_the_best_model_of_a_resumed_run_may_lie_before_its_resume(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PretrainingModule.training_step
    whole = fit(small_config(tmp_path / "whole", *WORSE, PATIENCE))
    step, last = best_step(whole), whole.steps

    def stopped(module: PretrainingModule, *arguments: Any) -> Tensor:
        if module.global_step == last - 1 and not module.progress.resumed_at:
            signal.raise_signal(signal.SIGTERM)
        return original(module, *arguments)

    monkeypatch.setattr(PretrainingModule, "training_step", stopped)
    options = (*WORSE, PATIENCE, "callbacks.every_n_train_steps=1", "trainer.max_steps=40")
    with pytest.raises(RunEnded, match=f"stopped at step {last}"):
        fit(small_config(tmp_path / "run", *options))
    assert open_source(tmp_path / "run").about["step"] == step
    again = fit(small_config(tmp_path / "run", *options, "resume=auto"))
    assert again.best is not None
    assert again.best.step == step == summarize(again)["loaded"]["step"]
    bert = load(tmp_path / "run")
    assert torch.equal(weights(bert.model), weights(loaded(again).model))
    assert torch.equal(weights(bert.model), weights(loaded(whole).model))


def test_a_corrupted_best_model_is_not_the_one_that_is_reported(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fit_module.best_model

    def corrupted(*arguments: Any) -> Any:
        best = (tmp_path / "checkpoints" / "best.ckpt").resolve()
        best.write_bytes(best.read_bytes()[:-100])
        return original(*arguments)

    monkeypatch.setattr(fit_module, "best_model", corrupted)
    result = fit(small_config(tmp_path, *WORSE, PATIENCE))
    assert result.best is None
    assert torch.equal(weights(load(tmp_path).model), weights(loaded(result).model))
