"""A run that stops and goes on is the run that never stopped: to the bit, from every step."""

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from left_behind import assert_same, checkpoint, curves, logged, read, state
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.errors import RunEnded
from bert_lightning.pretrained.checkpoints import read_manifest
from bert_lightning.reports.run_report import report
from bert_lightning.training import fit as fit_module
from bert_lightning.training import saving
from bert_lightning.training.fit import fit
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]
STEPS = 30
OPTIONS = (
    "batch.global_batch_size=30",  # an epoch ends within a step
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=4",
    "trainer.val_check_interval=7",
    "callbacks.every_n_train_steps=1",
    "callbacks.save_top_k=99",
    "optim.warmup_steps=5",
    "trainer.gradient_clip_val=1.0",
    "model.hidden_dropout_prob=0.2",
    "model.attention_probs_dropout_prob=0.2",
)
PLAIN = ("32-true", 1, 0)
CASES = [
    pytest.param(PLAIN, id="fp32"),
    pytest.param(("32-true", 1, 0, "optim=muon"), id="muon", marks=pytest.mark.slow),
    pytest.param(("32-true", 1, 0, "optim=lamb"), id="lamb", marks=pytest.mark.slow),
    pytest.param(("32-true", 3, 0, "optim.ema_decay=0.9"), id="average", marks=pytest.mark.slow),
    pytest.param(("bf16-mixed", 3, 0), id="bf16-accumulation", marks=pytest.mark.slow),
    pytest.param(
        ("32-true", 3, 0, "objective.sampled_words=20"),
        id="accumulation-sampled",
        marks=pytest.mark.slow,
    ),
    pytest.param(("32-true", 1, 2), id="workers", marks=pytest.mark.slow),
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
            for part in (
                *batch.sequences[:4],
                batch.masked_positions,
                batch.masked_labels,
                *batch.labels.values(),
                *(batch.sampled_words or ())[:1],
            ):
                digest.update(part.numpy().tobytes())
            self.batches[place], self.losses[place] = digest.hexdigest(), loss.item()
            return loss

        monkeypatch.setattr(PretrainingModule, "training_step", training_step)


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    monkeypatch.setattr(saving, "_NEWEST", 99)
    return Trace(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_resume_from_any_step_is_exact(
    small_config: Config, tmp_path: Path, trace: Trace, case: tuple[str, int, int, *tuple[str, ...]]
) -> None:
    precision, accumulation, workers, *more = case
    options = (
        *OPTIONS,
        f"trainer.precision={precision}",
        f"trainer.accumulate_grad_batches={accumulation}",
        f"batch.num_workers={workers}",
        *more,
    )
    whole = tmp_path / "whole"
    result = fit(small_config(whole, *options))
    assert result.epochs > 2
    batches, losses = dict(trace.batches), dict(trace.losses)
    assert len(batches) == STEPS * accumulation
    validated = [step for step, _ in result.curves["val/loss"]]
    assert validated == [7, 14, 21, 28, 30]

    stopped = tmp_path / "stopped"
    # The plain run is stopped in every step; others before, in and after one with a validation too.
    for step in range(1, STEPS, 1 if case == PLAIN else 5):
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
        # And one run that is stopped in each of these steps.
        trace.stop_in = step
        with pytest.raises(RunEnded, match=f"stopped at step {step} by SIGTERM") as ended:
            fit(small_config(stopped, *options, "resume=auto"))
        assert ended.value.exit_code == 143
    last = fit(small_config(stopped, *options, "resume=auto"))
    assert_same(state(checkpoint(stopped, STEPS)), state(checkpoint(whole, STEPS)))
    assert curves(last) == curves(result)
    losses_of = [
        [(read_manifest(checkpoint(run, step)) or {})["val_loss"] for step in validated]
        for run in (stopped, whole)
    ]
    assert losses_of[0] == losses_of[1]
    assert None not in losses_of[0]
    assert trace.batches == batches
    assert trace.losses == losses


def test_a_run_that_was_killed_before_its_report_is_finished(
    small_config: Config, tmp_path: Path, trace: Trace
) -> None:
    options = ("data.test_fraction=0.1", "test=true")
    first = fit(small_config(tmp_path / "run", *options))
    report(first)
    with pytest.raises(RunEnded, match="already complete at step 6") as ended:
        fit(small_config(tmp_path / "run", *options, "resume=auto"))
    assert ended.value.exit_code == 0
    (tmp_path / "run" / "summary.json").unlink()
    trace.batches.clear()
    again = fit(small_config(tmp_path / "run", *options, "resume=auto"))
    assert trace.batches == {}
    assert again.curves == first.curves
    assert again.steps == first.steps
    assert (again.progress.pairs, again.progress.tokens) == (
        first.progress.pairs,
        first.progress.tokens,
    )


def test_a_longer_run_follows_its_own_schedule(small_config: Config, tmp_path: Path) -> None:
    fit(small_config(tmp_path, "optim.lr=0.01"))
    longer = small_config(
        tmp_path, "trainer.max_steps=8", "optim.lr=0.02", "resume=auto", "allow_changes=true"
    )
    result = fit(longer)
    rates = [rate for _, rate in result.curves["train/lr"]]
    assert rates[:6] == pytest.approx([0.01 * (1 - step / 6) for step in range(1, 7)])
    assert rates[6:] == pytest.approx([0.02 * (1 - step / 8) for step in (7, 8)])
    options = read(checkpoint(tmp_path, 8))["optimizer_states"][0]["param_groups"][0]
    assert options["initial_lr"] == 0.02


def test_early_stopping_goes_on_with_its_patience(
    small_config: Config, tmp_path: Path, trace: Trace
) -> None:
    options = (
        *("callbacks.early_stopping_patience=3", "trainer.val_check_interval=1"),
        *("optim.lr=10", "trainer.max_steps=30", "callbacks.every_n_train_steps=1"),
    )  # a rate that makes it worse at once
    whole = fit(small_config(tmp_path / "whole", *options))
    assert whole.steps < 30
    trace.stop_in = whole.steps - 1
    with pytest.raises(RunEnded):
        fit(small_config(tmp_path / "stopped", *options))
    again = fit(small_config(tmp_path / "stopped", *options, "resume=auto"))
    assert again.steps == whole.steps
    report(again)
    with pytest.raises(RunEnded, match=f"complete at step {whole.steps}"):
        fit(small_config(tmp_path / "stopped", *options, "resume=auto"))


@pytest.mark.parametrize("logger", ["tensorboard", "csv"])
def test_logged_curves_go_on_without_gaps_or_repetitions(
    small_config: Config, tmp_path: Path, logger: str
) -> None:
    options = (f"logger={logger}", "callbacks.save_top_k=0", "test=true", "data.test_fraction=0.1")
    for name in ("whole", "run"):
        fit(small_config(tmp_path / name, *options, "callbacks.every_n_train_steps=4"))
    checkpoint(tmp_path / "run", 6).unlink()  # as if it had been killed in its last steps
    fit(small_config(tmp_path / "run", *options, "resume=auto"))
    whole, again = (logged(tmp_path / name, logger) for name in ("whole", "run"))
    assert [step for step, _ in again["train/mlm_loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in again["val/loss"]] == [3, 6]
    for name in whole:
        if not name.startswith("work/"):
            assert again[name] == whole[name]


@pytest.mark.parametrize(
    "options", [(), ("optim=muon", "optim.warmup_steps=2"), ("optim.ema_decay=0.9",)]
)
def test_a_checkpoint_takes_the_room_that_was_asked_for(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(fit_module, "require_room", lambda _, size: asked.append(size))
    sizes = ("model.hidden_size=256", "model.intermediate_size=512")
    result = fit(small_config(tmp_path, *sizes, *options))
    assert asked == [pytest.approx(checkpoint(tmp_path, result.steps).stat().st_size, rel=0.02)]
