"""A run in phases: what it logs, and that it stops, goes on, divides and replays as any other."""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from left_behind import assert_same, checkpoint, curves, state
from real_runs import TRACED, Run
from test_determinism import global_batches, stop_at
from test_resume import Trace

from bert_lightning.config import TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.data import evaluation_set
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.errors import UserError
from bert_lightning.training import saving
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.replay import replay

Config = Callable[..., TrainConfig]
Start = Callable[..., Run]
Overrides = Callable[..., list[str]]
STEPS, BOUNDARIES = 12, (5, 9)
PHASES = (
    "batch.phases=[{fraction: 0.42, max_length: 12}, {fraction: 0.33, global_batch_size: 60},"
    " {fraction: 0.25, max_length: 20, global_batch_size: 12}]"
)
OPTIONS = (
    PHASES,
    "batch.global_batch_size=30",
    "pairs=segment",  # epochs of another size at another length
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=4",  # a log on either side of each boundary, and none at one
    "trainer.val_check_interval=5",
    "callbacks.every_n_train_steps=1",
    "callbacks.save_top_k=99",
    "model.hidden_dropout_prob=0.2",
    "batch.max_length=64",
)


@pytest.fixture(scope="module", autouse=True)
def every_checkpoint_is_kept() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "_NEWEST", 99)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accumulation", "workers"),
    [(1, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(3, 0), (1, 2), (3, 2)])],
)
def test_a_resume_before_at_and_after_a_boundary_is_exact(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accumulation: int,
    workers: int,
) -> None:
    trace = Trace(monkeypatch)
    options = (
        *OPTIONS,
        f"trainer.accumulate_grad_batches={accumulation}",
        f"batch.num_workers={workers}",
    )
    whole = tmp_path / "whole"
    result = fit(small_config(whole, *options))
    batches, losses = dict(trace.batches), dict(trace.losses)
    assert len(batches) == len(set(batches.values())) == STEPS * accumulation
    for boundary in BOUNDARIES:
        for step in (boundary - 1, boundary, boundary + 1):
            stopped = tmp_path / f"from-{step}"
            checkpoint(stopped, step).parent.mkdir(parents=True)
            shutil.copy(checkpoint(whole, step), checkpoint(stopped, step))
            again = fit(small_config(stopped, *options, "resume=auto"))
            assert_same(state(checkpoint(stopped, STEPS)), state(checkpoint(whole, STEPS)))
            assert curves(again) == curves(result)
    assert trace.batches == batches
    assert trace.losses == losses


def test_a_run_in_one_phase_is_a_run_without_to_the_bit(
    small_config: Config, tmp_path: Path
) -> None:
    results = {}
    for name, phases in {"plain": "null", "phase": "[{fraction: 1}]"}.items():
        options = ("model.hidden_dropout_prob=0.2", f"batch.phases={phases}")
        results[name] = fit(small_config(tmp_path / name, *options))
    assert curves(results["phase"]) == curves(results["plain"])
    assert results["phase"].epochs == results["plain"].progress.pairs / 432
    assert_same(state(checkpoint(tmp_path / "phase", 6)), state(checkpoint(tmp_path / "plain", 6)))


@pytest.fixture(scope="module")
def run(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return fit(small_config(folder, *OPTIONS, "trainer.log_every_n_steps=1"))


def test_pairs_and_epochs_are_counted_over_the_phases(run: FitResult) -> None:
    sizes = [
        len(pair_sampler(run.corpus.splits["train"], run.config.batch.pairs, length))
        for length in (12, 64, 20)
    ]
    assert len(set(sizes)) == 3
    assert run.progress.pairs == 5 * 30 + 4 * 60 + 3 * 12
    passes = [30 / sizes[0]] * 5 + [60 / sizes[1]] * 4 + [12 / sizes[2]] * 3
    expected = [(step, sum(passes[:step])) for step in range(1, STEPS + 1)]
    assert [step for step, _ in run.curves["work/epoch"]] == [step for step, _ in expected]
    assert [epoch for _, epoch in run.curves["work/epoch"]] == pytest.approx(
        [epoch for _, epoch in expected]
    )
    assert run.epochs == run.curves["work/epoch"][-1][1]


@pytest.mark.slow
def test_held_out_losses_are_of_the_same_questions(small_config: Config, tmp_path: Path) -> None:
    # With a rate of nearly 0 the weights stay what they are, whatever the run is trained on.
    still = ("optim.lr=1e-12", "trainer.max_steps=3", "trainer.log_every_n_steps=1")
    one, other = (
        fit(small_config(tmp_path / str(n), *OPTIONS, *still, *more))
        for n, more in enumerate([(), ("batch.phases=null",)])
    )
    for name in ("val/mlm_loss", "val/nsp_loss", "val/mlm_accuracy"):
        assert one.curves[name][0][1] == pytest.approx(other.curves[name][0][1], rel=1e-6)


def test_held_out_examples_are_no_more_tokens_at_a_time_than_training_has(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    class Recorded(EvaluationBatches):
        def __init__(self, *args: Any) -> None:
            sizes.append(args[3])
            super().__init__(*args)

    monkeypatch.setattr(evaluation_set, "EvaluationBatches", Recorded)
    phases = (
        "batch.phases=[{fraction: 0.5, max_length: 16, global_batch_size: 120}, {fraction: 0.5}]"
    )
    more = (phases, "batch.max_length=64", "batch.global_batch_size=24")
    fit(small_config(tmp_path, *more, "trainer.max_steps=2", "batch.micro_batch_size=40"))
    assert [size for size in sizes if size != evaluation_set._READ_TOGETHER] == [40 * 16 // 64]


@pytest.mark.slow
def test_the_log_says_what_each_phase_is(
    small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "bert_lightning"):
        fit(small_config(tmp_path, *OPTIONS, "batch.micro_batch_size=20", "seed=3"))
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "; 12 steps in 3 phases; seed 3" in text
    found = re.findall(r"^steps (\S+) to (\S+) \((\S+)\): (\d+) pairs = (.*?); \d+ ex", text, re.M)
    assert found == [
        ("1", "5", "41.7%", "30", "1 devices × 3 micro-batches of 10"),
        ("6", "9", "33.3%", "60", "1 devices × 3 micro-batches of 20"),
        ("10", "12", "25.0%", "12", "1 devices × 3 micro-batches of 4"),
    ]
    lengths = re.findall(r"too long for (\d+) tokens", text)
    assert lengths == ["12", "64", "20"]
    assert len(re.findall(r"^examples of phase \d: \d+ tokens of at most", text, re.M)) == 3


@pytest.mark.parametrize("step", [5, 6, 9, 10])
def test_a_replay_is_the_step_as_it_was_in_every_phase(run: FitResult, step: int) -> None:
    config = run.config
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    batches = TrainingBatches(corpus, config.batch, 0, StepPartition(0, 1, 1), STEPS)
    before = torch.load(checkpoint(Path(config.run_dir), step - 1), weights_only=True)
    model = deepcopy(run.model).eval()
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in before["state_dict"].items()}
    )
    with torch.no_grad():
        sums = model.sums(batches[step - 1])
    examples = replay(Path(config.run_dir), step).examples
    assert len(examples) == {5: 30, 6: 60, 9: 60, 10: 12}[step]
    mlm = sum(example.losses["mlm"] * example.masked for example in examples)
    assert mlm == pytest.approx(sums["mlm"].nll.item(), rel=1e-5)


@pytest.mark.slow
def test_a_replay_makes_the_steps_over_a_boundary_again(
    run: FitResult, small_config: Config, tmp_path: Path
) -> None:
    seldom = ("callbacks.every_n_train_steps=99", "callbacks.save_top_k=0")
    fit(small_config(tmp_path / "seldom", *OPTIONS, "trainer.log_every_n_steps=1", *seldom))
    one, other = replay(Path(run.config.run_dir), 11), replay(tmp_path / "seldom", 11)
    assert one.checkpoint is not None
    assert other.checkpoint is None
    assert one.examples == other.examples


def test_phases_are_no_thing_to_change_at_a_resume(
    run: FitResult, small_config: Config, tmp_path: Path
) -> None:
    shutil.copytree(run.config.run_dir, tmp_path / "run", symlinks=True)
    other = PHASES.replace("max_length: 12", "max_length: 13")
    options = (*OPTIONS, "trainer.log_every_n_steps=1", other)
    with pytest.raises(UserError, match=r"batch\.phases=\[.*'max_length': 13.*and it was \[.*12"):
        fit(small_config(tmp_path / "run", *options, "trainer.max_steps=99", "resume=auto"))


@pytest.mark.slow
def test_one_device_then_two_then_one_see_what_one_would(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    options = small_run(*(option for option in OPTIONS if "dropout" not in option))
    options += ["trainer.accumulate_grad_batches=3"]
    other = start(whole, *options, f"hydra.run.dir={whole}", script=TRACED)
    parts: list[tuple[list[str], dict[str, Any], int]] = [
        ([*options, f"hydra.run.dir={folder}"], stop_at(3), 143),
        ([f"resume={folder}", "trainer.devices=2"], stop_at(9, rank=1), 143),
        ([f"resume={folder}", "trainer.devices=1"], {}, 0),
    ]
    for arguments, act, code in parts:
        one = start(folder, *arguments, script=TRACED, **act)
        assert one.end() == code, one.stderr
    assert other.end() == 0
    assert {(e["step"], e["world_size"]) for e in one.trace()} == {
        (step, 2 if 3 < step < 10 else 1) for step in range(1, STEPS + 1)
    }
    assert global_batches(one.trace()) == global_batches(other.trace())
    ours, theirs = (
        torch.load(checkpoint(path, STEPS), weights_only=True)["bert_lightning"]["progress"]
        for path in (folder, whole)
    )
    for name, (at, losses) in theirs["curves"].items():
        if "loss" in name:
            assert torch.equal(ours["curves"][name][0], at)
            torch.testing.assert_close(ours["curves"][name][1], losses, rtol=1e-5, atol=0)
