"""The options of Lightning's Trainer: each does what it says, in real runs."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from left_behind import assert_same, checkpoint, state
from members import taken
from real_runs import Run
from torch import Tensor

from bert_lightning.config import TrainConfig, TrainerConfig
from bert_lightning.config.affects import options
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.reports.run_report import report
from bert_lightning.training.fit import fit
from bert_lightning.training.stops import Exchange, StopSignals

Config = Callable[..., TrainConfig]
MORE = [("devices", 1), ("devices", "1"), ("devices", -1), ("max_time", "01:00:00:00")]
"""Values of options whose fields do not list them."""
WITH = {
    "gradient_clip_algorithm": ["trainer.gradient_clip_val=1"],
    "max_steps": ["trainer.max_epochs=0.01"],
    "num_sanity_val_steps": ["trainer.limit_val_batches=1"],
}
"""What else an option needs to have an effect."""
NO_CPU = {"gpu", "cuda", "mps", "16-mixed", "16-true", "16"}


def members() -> Iterator[tuple[str, Any]]:
    """Each option with each value at its limits that a CPU can have."""
    for option in options(TrainerConfig):
        found = [value for value in taken(option) if value not in NO_CPU]
        yield from ((option.name, value) for value in found)
    yield from MORE


def written(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text.lower() if isinstance(value, bool) else text


@pytest.fixture
def algorithms() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)


@pytest.mark.slow
@pytest.mark.usefixtures("algorithms")
@pytest.mark.parametrize(("name", "value"), list(members()), ids=str)
def test_what_an_option_takes_trains(
    small_config: Config, tmp_path: Path, name: str, value: Any
) -> None:
    given = ["trainer.max_steps=2", f"trainer.{name}={written(value)}", *WITH.get(name, ())]
    result = fit(small_config(tmp_path, *given))
    assert result.steps in (1, 2)
    assert report(result)


@pytest.mark.slow
def test_a_fraction_of_the_run_lies_between_validations_and_resumes(
    small_config: Config, tmp_path: Path, late_at: Callable[[int], None]
) -> None:
    interval = "trainer.val_check_interval=0.4"
    result = fit(small_config(tmp_path / "whole", interval))
    assert [step for step, _ in result.curves["val/loss"]] == [2, 4, 6]
    late_at(3)
    fit(small_config(tmp_path / "run", interval, "trainer.max_time=00:01:00:00"))
    fit(small_config(tmp_path / "run", interval, "resume=auto"))
    ends = [state(checkpoint(tmp_path / name, 6), validated=False) for name in ("whole", "run")]
    assert_same(*ends)


@pytest.fixture
def late_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the time of the next run be over in its n-th step."""
    original, left = StopSignals.agree, [0]

    def agree(signals: StopSignals, broken: Tensor, *elapsed: float) -> Exchange:
        left[0] -= bool(elapsed)  # only before an update
        signals.deadline = 0.0 if left[0] == 0 else math.inf
        return original(signals, broken, *elapsed)

    monkeypatch.setattr(StopSignals, "agree", agree)

    def set_left(steps: int) -> None:
        left[0] = steps

    return set_left


@pytest.mark.slow
@pytest.mark.parametrize("ends", [[3], [1, 1, 3]], ids=str)
def test_a_run_that_is_out_of_time_resumes_with_as_much_again(
    small_config: Config, tmp_path: Path, late_at: Callable[[int], None], ends: list[int]
) -> None:
    options = ["trainer.max_time=00:01:00:00", "model.hidden_dropout_prob=0.1"]
    options += ["callbacks.early_stopping_patience=2"]  # which counts no other validation
    fit(small_config(tmp_path / "whole", *options))
    done = 0
    for steps in ends:
        done += steps
        late_at(steps)
        result = fit(small_config(tmp_path / "run", *options, "resume=auto"))
        assert result.steps == done
        assert result.curves["val/loss"][-1][0] == done
        assert f"ended       at step {done}: trainer.max_time=00:01:00:00 is over" in report(result)
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["early_end"].startswith("trainer.max_time=00:01:00:00")
    again = fit(small_config(tmp_path / "run", *options, "resume=auto"))
    assert again.steps == 6
    assert not again.progress.early_end
    ended = [state(checkpoint(tmp_path / name, 6), validated=False) for name in ("whole", "run")]
    assert_same(*ended)
    report(again)
    with pytest.raises(RunEnded, match="already complete at step 6"):
        fit(small_config(tmp_path / "run", *options, "resume=auto"))


@pytest.mark.slow
def test_a_real_clock_ends_a_run_without_steps(small_config: Config, tmp_path: Path) -> None:
    options = ["trainer.max_steps=-1", "optim.schedule=constant", "trainer.max_time=00:00:00:01"]
    result = fit(small_config(tmp_path, *options))
    assert result.steps >= 1
    assert result.progress.early_end
    assert fit(small_config(tmp_path, *options, "resume=auto")).steps > result.steps


def test_the_first_validation_is_not_scored(small_config: Config, tmp_path: Path) -> None:
    sanity = ["trainer.num_sanity_val_steps=1", "trainer.limit_val_batches=2"]
    every = ["callbacks.every_n_train_steps=4", "callbacks.save_top_k=0"]
    fit(small_config(tmp_path, *sanity, *every))
    checkpoint(tmp_path, 6).unlink()
    again = fit(small_config(tmp_path, *sanity, *every, "resume=auto"))
    assert [step for step, _ in again.curves["val/loss"]] == [3, 6]


@pytest.mark.slow
def test_the_patience_may_change_when_a_run_resumes(
    small_config: Config, tmp_path: Path, late_at: Callable[[int], None]
) -> None:
    worse = ["optim.lr=10", "trainer.max_steps=12", "trainer.val_check_interval=1"]
    late_at(2)
    first, then = ("callbacks.early_stopping_patience=9", "callbacks.early_stopping_patience=2")
    fit(small_config(tmp_path, *worse, first, "trainer.max_time=00:01:00:00"))
    result = fit(small_config(tmp_path, *worse, then, "resume=auto"))
    assert result.steps < 9
    assert "(callbacks.early_stopping_patience=2)" in result.progress.early_end
    with pytest.raises(UserError, match="ended early: no lower loss in "):
        fit(small_config(tmp_path, *worse, then, f"resume={tmp_path}"))


@pytest.mark.slow
def test_scores_of_a_part_have_no_baselines(
    small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    said = report(fit(small_config(tmp_path, "trainer.limit_val_batches=1")))
    assert "validation  MLM loss" in said
    assert "baseline" not in said + capsys.readouterr().out
    assert "trainer.limit_val_batches=1: the scores of a part" in caplog.text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "validation" in summary
    assert not {"evaluation_set_sha256", "validation_baselines"} & summary.keys()


def test_a_fraction_without_a_batch_is_refused(small_config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Lightning refuses these options: .*limit_val_batches"):
        fit(small_config(tmp_path, "trainer.limit_val_batches=1e-4"))


def test_a_profile_is_written_where_the_log_says(
    small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        fit(small_config(tmp_path, "trainer.profiler=simple"))
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()
    assert f"profile: {tmp_path / 'fit-profile.txt'}" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [0.5, 1])
def test_epochs_alone_end_a_run(small_config: Config, tmp_path: Path, epochs: float) -> None:
    options = [f"trainer.max_epochs={epochs}", "trainer.val_check_interval=1.0"]
    found = {
        fit(small_config(tmp_path / given, *options, f"trainer.max_steps={given}")).steps
        for given in ("-1", "null")
    }
    assert len(found) == 1
    assert found.pop() > 3 * epochs


@pytest.mark.slow
def test_two_devices_are_out_of_time_at_the_same_step(
    start: Callable[..., Run], small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    options = ["trainer.devices=2", "trainer.max_steps=100000", "trainer.max_time=00:00:00:01"]
    run = start(folder, *small_run(*options, f"hydra.run.dir={folder}"))
    assert run.end() == 0
    assert run.stdout.count("\nended at step ") == 1
    step = json.loads((folder / "summary.json").read_text())["steps"]
    assert step < 100_000
    assert checkpoint(folder, step).is_file()
    assert "Traceback" not in run.stderr
