"""A run that ends by the clock, is made again by its steps, and goes on after a stop."""

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import OptimConfig, ScheduleName, TrainConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.optim.schedules import schedule
from bert_lightning.optim.time_budget import TOLERANCE, Budget
from bert_lightning.reports.run_report import report, summarize
from bert_lightning.runs.progress import Progress
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]
OPTIONS = ("optim.schedule=wsd", "optim.warmup_steps=2", "optim.decay_fraction=0.5")
BY_CLOCK = (*OPTIONS, "trainer.max_steps=null")


def test_the_steps_of_the_decay_follow_from_the_pace() -> None:
    budget = Budget(seconds=100, decay_fraction=0.4)
    for step, elapsed in ((1, 11), (7, 29), (8, 32), (10, 35), (19, 59)):
        budget.settle(step, elapsed)
        assert (budget.end, budget.fraction_of_peak(step)) == (None, 1.0)
    budget.settle(20, 68)  # 3 s a step since half of the time, and 32 s are left
    assert (budget.decay, budget.end) == (11, 31)
    budget.settle(25, 83.9)  # late, but within the tolerance
    assert budget.end == 31
    by_steps = OptimConfig(schedule=ScheduleName.wsd, decay_fraction=11 / 31)
    assert [budget.fraction_of_peak(step) for step in range(32)] == [
        schedule(by_steps, 31)(step) for step in range(32)
    ]


@pytest.mark.parametrize("decay_fraction", [0.2, 0.5, 0.8])
def test_slow_first_steps_leave_no_time_unused(decay_fraction: float) -> None:
    budget = Budget(450, decay_fraction)
    seconds, _ = trained(budget, lambda step: 15.0 if step == 0 else 1.0 if step < 20 else 0.1)
    assert seconds == pytest.approx(450, abs=0.2)
    assert budget.by_steps() is not None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("8min", 480), ("1.5h", 5400), ("2 min", 120)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert OptimConfig(schedule=ScheduleName.wsd, time_budget=text).time_budget_seconds == seconds


@pytest.mark.parametrize("text", ["8", "min", "8 minutes", "-1s", "0s", "1e3s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write it as 90s, 8min or"):
        OptimConfig(schedule=ScheduleName.wsd, time_budget=text)


def test_only_a_rate_that_stays_can_wait_for_the_clock() -> None:
    with pytest.raises(UserError, match="to decay before the length of the run is known"):
        OptimConfig(schedule=ScheduleName.linear, time_budget="8min")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock of one second a step; a step in the list sends SIGTERM."""
    stops: list[int] = []
    original = PretrainingModule.training_step

    def training_step(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> Tensor:
        if module.global_step + 1 in stops:
            stops.remove(module.global_step + 1)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(module, batch, batch_idx)

    monkeypatch.setattr(PretrainingModule, "training_step", training_step)
    settle = Progress.settle_budget
    monkeypatch.setattr(
        Progress,
        "settle_budget",
        lambda run, trainer, _: settle(run, trainer, float(trainer.global_step)),
    )
    return stops


def weights(result: FitResult) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in result.model.parameters()])


@pytest.mark.slow
@pytest.mark.usefixtures("ticking")
def test_a_run_by_the_clock_is_repeated_by_its_steps(small_config: Config, tmp_path: Path) -> None:
    by_clock = fit(small_config(tmp_path / "clock", *BY_CLOCK, "optim.time_budget=10s"))
    assert by_clock.steps == 10
    rates = [rate for _, rate in by_clock.curves["train/lr"]]
    assert rates == pytest.approx([3e-3] * 5 + [3e-3 * left / 5 for left in (4, 3, 2, 1, 0)])
    repeat = summarize(by_clock)["repeat"]
    assert repeat == "optim.time_budget=null trainer.max_steps=10 optim.decay_fraction=0.5"
    by_steps = fit(small_config(tmp_path / "steps", *OPTIONS, *repeat.split()))
    assert torch.equal(weights(by_steps), weights(by_clock))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 7], ids=["before the end is known", "after"])
def test_a_budget_goes_on_after_a_stop(
    small_config: Config, tmp_path: Path, ticking: list[int], stop: int
) -> None:
    whole = fit(small_config(tmp_path / "whole", *BY_CLOCK, "optim.time_budget=10s"))
    options = (*BY_CLOCK, "optim.time_budget=10s", "resume=auto")
    ticking.append(stop)
    with pytest.raises(RunEnded, match=f"step {stop}"):
        fit(small_config(tmp_path / "run", *options))
    again = fit(small_config(tmp_path / "run", *options))
    assert again.steps == whole.steps
    assert torch.equal(weights(again), weights(whole))
    (tmp_path / "run" / "summary.json").touch()
    with pytest.raises(RunEnded, match="already complete at step 10"):
        fit(small_config(tmp_path / "run", *options))


def test_a_real_clock_ends_a_run(small_config: Config, tmp_path: Path) -> None:
    result = fit(small_config(tmp_path, *OPTIONS, "optim.time_budget=1s", "trainer.max_steps=-1"))
    assert result.steps > 2
    assert 0.3 < result.progress.seconds < 10  # a loaded machine may stall in the decay


def trained(budget: Budget, step_time: Callable[[int], float]) -> tuple[float, list[float]]:
    """Runs a budget by a simulated clock; returns the seconds and each step's fraction of the peak.

    As in a run, the clock of a step is read before its update, and its rate was set before.
    """
    elapsed, step, fractions = 0.0, 0, list[float]()
    while budget.end is None or step < budget.end:
        fractions.append(budget.fraction_of_peak(step))
        elapsed += step_time(step)
        budget.settle(step, elapsed)
        step += 1
    return elapsed, fractions


@pytest.mark.parametrize("decay_fraction", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("slower", [0.7, 1.0, 1.01, 1.5, 4.0])
@pytest.mark.parametrize("fast", [0.08, 1.0], ids=["many steps", "few steps"])
def test_a_run_whose_steps_become_slower_ends_within_its_tolerance(
    decay_fraction: float, slower: float, fast: float
) -> None:
    """The clock slows down as the decay begins, or in the middle of it."""
    for at in (1 - decay_fraction, 1 - decay_fraction / 2):
        change = round(at * 450 / fast)
        times = [fast] * change + [fast * slower] * 10_000
        budget = Budget(450, decay_fraction)
        seconds, fractions = trained(budget, times.__getitem__)
        assert seconds <= 450 * (1 + TOLERANCE) + 2 * fast * max(1, slower)
        assert all(after <= before for before, after in pairwise(fractions))
        assert fractions[-1] < 0.1
        if slower <= 1.01:
            assert budget.by_steps() is not None
        if slower == 1.5:
            assert seconds > 435
            assert budget.by_steps() is None


def test_a_slow_step_now_and_then_changes_no_plan() -> None:
    budget = Budget(100, 0.5)
    seconds, _ = trained(budget, lambda step: 1.0 if step == 520 else 0.1)
    assert budget.by_steps() is not None
    assert seconds == pytest.approx(100.8, abs=0.3)


def test_a_shortened_decay_resumes_as_it_was() -> None:
    budget, other = Budget(100, 0.5), Budget(100, 0.5)
    budget.settle(50, 50)
    budget.settle(60, 75)
    assert budget.end is not None
    assert budget.end < 100
    assert budget.height == pytest.approx(0.8)
    other.restore(budget.to_plain())
    assert other == budget


def test_a_budget_that_waits_resumes_as_it_was() -> None:
    budget, other, older = Budget(100, 0.5), Budget(100, 0.5), Budget(100, 0.5)
    budget.settle(20, 30)
    other.restore(budget.to_plain())
    assert other == budget
    older.restore(budget.to_plain()[:6])  # before there was a half
    for each in (budget, other, older):
        each.settle(60, 50)
    assert budget.end == other.end == 160
    assert older.end == 120


@pytest.mark.slow
def test_a_real_run_that_becomes_slower_says_so(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settle = Progress.settle_budget
    monkeypatch.setattr(
        Progress,
        "settle_budget",
        lambda run, trainer, _: settle(
            run, trainer, float(trainer.global_step + max(0, trainer.global_step - 10))
        ),
    )
    with caplog.at_level("INFO"):
        result = fit(small_config(tmp_path, *BY_CLOCK, "optim.time_budget=20s"))
    assert result.steps < 18
    assert f"the run ends at step {result.steps}, not " in caplog.text
    assert result.curves["train/lr"][-1] == (result.steps, 0)
    assert "repeat      not by its steps" in report(result)
