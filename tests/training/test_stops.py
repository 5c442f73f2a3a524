"""Runs that are asked to stop, and runs that break: real processes, real signals, real files."""

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from left_behind import assert_same, checkpoint, state
from real_runs import TRACED, Run, trace

from bert_lightning.config import TrainConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import SIGNALS
from bert_lightning.runs.progress import Clock
from bert_lightning.training import stops
from bert_lightning.training.fit import fit
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.saving import SaveCheckpoints

Start = Callable[..., Run]
Overrides = Callable[..., list[str]]
Config = Callable[..., TrainConfig]
LONG = ("trainer.max_steps=200", "trainer.val_check_interval=50", "model.hidden_dropout_prob=0.1")

SIGUSR1 = Signals.__members__.get("SIGUSR1", SIGTERM)  # Windows has none


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Runs in this process round as those do that a test starts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fake_scontrol(folder: Path, then: str = "") -> tuple[dict[str, str], Path]:
    """A program `scontrol` that writes its arguments down: the environment that finds it first."""
    calls, program = folder / "calls.txt", folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{then}\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}, calls


def stopped(run: Run, number: signal.Signals) -> tuple[int, str]:
    """The step that the run says it was stopped at, in its only message, and what it adds."""
    pattern = rf"stopped at step (\d+) by {number.name}; saved (\S+?\.ckpt)(.*)\n"
    found = re.findall(pattern, run.stderr)
    assert len(found) == 1, run.stderr
    assert "Traceback" not in run.stderr
    step, file, more = found[0]
    assert run.cwd / file == checkpoint(run.folder, int(step))
    assert torch.load(run.cwd / file, weights_only=True)["global_step"] == int(step)
    assert not run.processes()
    return int(step), more


@pytest.mark.slow
def test_a_run_that_signals_stop_three_times_is_the_run_that_none_stopped(
    start: Start, small_run: Overrides, small_config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run = start(folder, *small_run(*LONG, f"hydra.run.dir={folder}"))
    run.until_it_trains()
    run.send(SIGTERM)
    assert run.end() == 143
    step, more = stopped(run, SIGTERM)
    assert (run.stderr.count("\n"), more) == (1, "")

    environment, calls = fake_scontrol(tmp_path)
    workers = "batch.num_workers=2"
    run = start(folder, f"resume={folder}", workers, SLURM_JOB_ID="4711", **environment)
    run.until_it_trains()
    assert f"resumes from step {step}: {checkpoint(Path('run'), step)}" in run.stdout
    assert f"\nstep {step + 1}/200" in run.stdout
    run.send_to_all(SIGUSR1)
    assert run.end() == 143
    later, more = stopped(run, SIGUSR1)
    assert later > step
    assert more == "; SLURM requeues job 4711"
    assert calls.read_text() == "requeue 4711\n"

    run = start(folder, f"resume={folder}", workers)
    run.until_it_trains()
    assert f"\nstep {later + 1}/200" in run.stdout
    run.send_to_all(SIGINT)
    assert run.end() == 130
    assert stopped(run, SIGINT)[0] > later

    run = start(folder, f"resume={folder}")
    fit(small_config(tmp_path / "whole", *LONG))
    assert run.end() == 0
    assert_same(state(checkpoint(folder, 200)), state(checkpoint(tmp_path / "whole", 200)))


@pytest.mark.slow
def test_a_signal_stops_within_a_validation_which_comes_first_when_the_run_goes_on(
    start: Start, small_run: Overrides, small_config: Config, tmp_path: Path
) -> None:
    options = ["batch.global_batch_size=2", "data.validation_fraction=0.5"]
    folder, whole = tmp_path / "run", tmp_path / "whole"
    run = start(folder, *small_run(*options, f"hydra.run.dir={folder}"), script=TRACED)
    run.until(lambda: len(run.trace("validation")) > 60)
    run.send(SIGTERM)
    assert run.end() == 143
    assert stopped(run, SIGTERM)[0] == 3
    seen = run.trace("validation")
    progress = torch.load(checkpoint(folder, 3), weights_only=True)["bert_lightning"]["progress"]
    # The time of training is taken without that of the validation, which is at work.
    assert progress["elapsed"] < seen[-1]["time"] - seen[0]["time"]

    for file in folder.glob("trace-*"):
        file.unlink()
    run = start(folder, f"resume={folder}", script=TRACED)
    result = fit(small_config(whole, *options))
    batches = result.corpus.splits["validation"].pairs // 2
    assert len(seen) < batches
    assert run.end() == 0
    first, second = run.trace("validation")[:batches], run.trace("validation")[batches:]
    assert {entry["step"] for entry in first} == {3}
    assert {entry["step"] for entry in second} == {6}
    assert [entry["step"] for entry in run.trace()] == [4, 5, 6]
    assert first[-1]["time"] < run.trace()[0]["time"]
    assert_same(state(checkpoint(folder, 6)), state(checkpoint(whole, 6)))


@pytest.mark.slow
def test_a_signal_while_the_corpus_is_prepared_ends_the_process(
    start: Start, small_run: Overrides, corpus_file: Path, tmp_path: Path
) -> None:
    text, folder, cache = tmp_path / "large.txt", tmp_path / "run", tmp_path / "cache"
    text.write_text("\n\n".join([corpus_file.read_text()] * 200))
    options = [f"data.path={text}", f"data.cache_dir={cache}", f"hydra.run.dir={folder}"]
    run = start(folder, *small_run(*options))
    run.until((folder / ".lock.json").exists)
    run.send(SIGTERM)
    begun = time.monotonic()
    assert run.end() == -SIGTERM
    assert time.monotonic() - begun < 5
    assert not run.stdout
    assert not run.processes()


def test_a_signal_in_the_validation_before_training_lets_the_first_step_be_made(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PretrainingModule.validation_step

    def signalled(*arguments: Any) -> None:
        os.kill(os.getpid(), SIGTERM)
        original(*arguments)

    monkeypatch.setattr(PretrainingModule, "validation_step", signalled)
    with pytest.raises(RunEnded, match="stopped at step 1 by SIGTERM; saved ") as ended:
        fit(small_config(tmp_path, "trainer.num_sanity_val_steps=1"))
    assert Path(str(ended.value).partition("saved ")[2]).is_file()


def test_the_first_signal_counts_until_the_context_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with stops.StopSignals() as signals:
        assert signals.agree(torch.tensor(False)).read()[:3] == (0, None, 0.0)
        for number in (SIGUSR1, SIGTERM, SIGUSR1, SIGTERM):
            os.kill(os.getpid(), number)
        assert signals.agree(torch.tensor(False)).read()[:3] == (SIGUSR1, None, 0.0)
        assert signals.agree(torch.tensor(True), elapsed=2.5).read()[:3] == (SIGUSR1, 0, 2.5)
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    assert not capfd.readouterr().err


def test_a_run_in_another_thread_leaves_signals_to_the_main_one() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: stops.StopSignals().__enter__().received).result() == 0
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


Known = tuple[tuple[int, bool, float], tuple[int, bool, float]]
AGREED: list[tuple[Known, tuple[int, int | None, float]]] = [
    (((0, False, 1.5), (0, False, 123456.789)), (0, None, 123456.789)),
    (((SIGTERM, False, 2.5), (0, True, 1.5)), (SIGTERM, 1, 2.5)),
    (((0, True, 0.0), (SIGUSR1, False, 0.0)), (SIGUSR1, 0, 0.0)),
]


def agree_as(rank: int, folder: Path) -> list[stops.Consensus]:
    """What a process of two learns twice from the other, in each case."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    found = []
    for known, _ in AGREED:
        signals = stops.StopSignals()
        signals.received, broken, elapsed = known[rank]
        first, second = (signals.agree(torch.tensor(broken), elapsed) for _ in range(2))
        assert first.broken.item() is second.broken.item() is any(each[1] for each in known)
        assert second.read() == first.read()
        found.append(first.read())
    return found


def test_all_ranks_know_what_any_of_them_knows(tmp_path: Path) -> None:
    # Not forked, which would copy the process group of a test before.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context) as processes:
        for found in processes.map(agree_as, (0, 1), (tmp_path, tmp_path), timeout=120):
            assert [each[:3] for each in found] == [agreed for _, agreed in AGREED]


def test_a_second_ctrl_c_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    says = "\nstopping after this step; Ctrl-C again ends the run at once\n"
    with stops.StopSignals() as signals:
        os.kill(os.getpid(), SIGINT)
        assert (codes, signals.received) == ([], SIGINT)
        assert capfd.readouterr().err == says
        os.kill(os.getpid(), SIGTERM)
        assert codes == []
        os.kill(os.getpid(), SIGINT)
        assert codes == [130]
        assert not capfd.readouterr().err
    monkeypatch.setattr(stops, "is_first_process", lambda: False)
    with stops.StopSignals():
        os.kill(os.getpid(), SIGINT)
        os.kill(os.getpid(), SIGINT)
        assert codes == [130, 130]
    assert not capfd.readouterr().err  # the first process says it for all


class Saved:
    """Checkpoints that are only counted."""

    def __init__(self) -> None:
        self.due: list[bool] = []

    def save(self, trainer: Any, validation_due: bool) -> Path:
        self.due.append(validation_due)
        return Path("run/step.ckpt")


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGUSR1])
@pytest.mark.parametrize("validation_due", [False, True])
@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_what_is_stopped_between_its_first_step_and_its_last_is_saved(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    validation_due: bool,
    saves: bool,
    is_first: bool,
) -> None:
    monkeypatch.setattr(stops, "_requeue", lambda: "; requeued")
    module, barriers = PretrainingModule(small_config(tmp_path), 50, 6, [100], {}), list[str]()
    strategy = SimpleNamespace(barrier=barriers.append)
    checkpoints: Any = Saved() if saves else None
    signals = stops.StopSignals()
    signals.received = number
    callback = stops.StopConsensus(module, signals, checkpoints)
    trainer: Any = SimpleNamespace(max_steps=6, is_global_zero=is_first, strategy=strategy)

    def stop(step: int) -> None:
        trainer.global_step = step
        if validation_due:
            callback.on_validation_batch_end(trainer)
        else:
            module.losses.append(torch.tensor(1.0))
            monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
            callback.on_before_optimizer_step(trainer)
            module.losses.append(torch.tensor(1.0))
            try:
                callback.on_train_batch_start(trainer)
            except RunEnded:
                pytest.fail("stopped within a step")
            module.losses.clear()
            callback.on_train_batch_start(trainer)

    for step in (0, 6):
        stop(step)
    with pytest.raises(RunEnded) as ended:
        stop(5)
    requeued = is_first and saves and number == SIGUSR1
    assert str(ended.value) == (
        f"stopped at step 5 by {number.name}; "
        + (
            f"saved {shown(Path('run/step.ckpt'))}"
            if saves
            else "saved nothing: checkpoints are off"
        )
        + ("; requeued" if requeued else "")
    )
    assert ended.value.exit_code == (130 if number == SIGINT else 143)
    assert barriers == ([] if number == SIGINT else ["stop"])
    if saves:
        assert checkpoints.due == [validation_due]
    with pytest.raises(RunEnded, match="stopped at step 1 by"):
        stop(1)


def test_a_signal_in_the_last_step_before_a_validation_leaves_it_for_the_resumed_run(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
    module, checkpoints = PretrainingModule(small_config(tmp_path), 50, 6, [100], {}), Saved()
    signals, saving_callback = stops.StopSignals(), cast(SaveCheckpoints, checkpoints)
    signals.received = SIGINT
    callback = stops.StopConsensus(module, signals, saving_callback)
    trainer: Any = SimpleNamespace(max_steps=6, global_step=2)
    module.losses.append(torch.tensor(1.0))
    callback.on_before_optimizer_step(trainer)
    trainer.global_step = 3
    with pytest.raises(RunEnded, match="stopped at step 3 by SIGINT"):
        callback.on_validation_start(trainer, module)
    assert checkpoints.due == [True]


def test_a_time_budget_is_settled_before_the_update_that_it_is_due_at(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
    config = small_config(tmp_path)
    config.optim.time_budget, config.optim.decay_fraction = "10s", 0.2
    module = PretrainingModule(config, 50, 10**9, [100], {})
    callback = stops.StopConsensus(module, stops.StopSignals(), None)
    loop = SimpleNamespace(max_steps=10**9)
    trainer: Any = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=loop))
    for step, elapsed, end in ((7, 7.0, 10**9), (8, 8.0, 10)):
        module.progress.clock = Clock(elapsed)
        trainer.global_step = step
        module.losses.append(torch.tensor(1.0))
        callback.on_before_optimizer_step(trainer)
        assert loop.max_steps == end


def test_what_slurm_did_not_start_is_not_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert stops._requeue() == ""


def test_a_run_that_no_signal_stops_goes_on(small_config: Config, tmp_path: Path) -> None:
    module = PretrainingModule(small_config(tmp_path), 50, 6, [100], {})
    callback = stops.StopConsensus(module, stops.StopSignals(), None)
    trainer: Any = SimpleNamespace(global_step=3, max_steps=6)
    callback.on_train_batch_start(trainer)
    callback.on_validation_start(trainer, module)
    callback.on_validation_batch_end(trainer)


@pytest.mark.parametrize(
    ("then", "result"),
    [
        ("", "; SLURM requeues job 4711_2"),
        ("echo no such job >&2; exit 1", "; scontrol requeue 4711_2 failed: no such job"),
    ],
)
def test_a_job_of_an_array_is_started_again_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, result: str
) -> None:
    environment, calls = fake_scontrol(tmp_path, then)
    job = {"SLURM_JOB_ID": "4713", "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "2"}
    for name, value in {**environment, **job}.items():
        monkeypatch.setenv(name, value)
    assert stops._requeue() == result
    assert calls.read_text() == "requeue 4711_2\n"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stops._requeue().startswith("; scontrol requeue 4711_2 failed: ")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_all_processes_at_once(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    options = ["trainer.devices=2", "batch.num_workers=1", f"hydra.run.dir={folder}"]
    asleep = {"ACT": '{"do": "sleep", "step": 3}'}
    run = start(folder, *small_run(*options), script=TRACED, **asleep)
    run.until(lambda: len(run.trace()) == 6)
    assert len(run.processes()) >= 4  # two of them load data
    run.send_to_all(SIGINT)
    time.sleep(1)
    assert run.process.poll() is None
    begun = time.monotonic()
    run.send_to_all(SIGINT)
    assert run.end() == 130
    while run.processes():
        assert time.monotonic() - begun < 5
    assert not list(folder.rglob("*.ckpt"))


@pytest.mark.slow
def test_one_of_two_devices_is_asked_to_stop_and_both_do(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run = start(folder, *small_run(*LONG, "trainer.devices=2", f"hydra.run.dir={folder}"))
    run.until(run.process_of_rank_1)
    run.send(SIGTERM)  # before the first step
    assert run.end() == 143
    assert stopped(run, SIGTERM)[0] == 1
    assert [path.name for path in folder.rglob("step=*.ckpt")] == ["step=000001.ckpt"]

    environment, calls = fake_scontrol(tmp_path, "sleep 2")
    job = {"SLURM_JOB_ID": "4713", "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "2"}
    run = start(folder, f"resume={folder}", **job, **environment)
    run.until_it_trains()
    assert "resumes from step 1:" in run.stdout
    os.kill(run.process_of_rank_1(), SIGUSR1)
    run.until(calls.exists)
    time.sleep(1.5)
    assert run.process_of_rank_1()  # the first would take its early end for a death
    assert run.end() == 143
    step, more = stopped(run, SIGUSR1)
    assert more == "; SLURM requeues job 4711_2"
    assert calls.read_text() == "requeue 4711_2\n"
    assert {path.name for path in folder.rglob("step=*.ckpt")} == {
        "step=000001.ckpt",
        f"step={step:06d}.ckpt",
    }

    run = start(folder, f"resume={folder}")
    run.until_it_trains()
    assert f"resumes from step {step}:" in run.stdout
    run.send_to_all(SIGTERM)
    assert run.end() == 143
    assert stopped(run, SIGTERM)[0] > step


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "rank"), [(1, 0), (2, 0), (2, 1)])
def test_an_error_that_nobody_foresaw_ends_the_run_with_a_report(
    start: Start, small_run: Overrides, tmp_path: Path, devices: int, rank: int
) -> None:
    folder = tmp_path / "run"
    options = [
        f"trainer.devices={devices}",
        "callbacks.every_n_train_steps=2",
        "trainer.val_check_interval=6",
    ]
    act = {"ACT": f'{{"do": "raise", "rank": {rank}, "step": 4}}'}
    run = start(folder, *small_run(*options, f"hydra.run.dir={folder}"), script=TRACED, **act)
    run.until(lambda: len(run.trace()) == 4 * devices)
    begun = time.monotonic()
    assert run.end() == 1
    assert time.monotonic() - begun < 60
    assert not run.processes()
    assert [path.name for path in folder.rglob("step=*.ckpt")] == ["step=000002.ckpt"]
    (report,) = folder.glob("crash-*.txt")
    assert "ArithmeticError: as the test asked" in report.read_text()
    assert f"newest checkpoint: {checkpoint(Path('run'), 2)}\n" in report.read_text()
    assert run.stderr.count("Traceback") == 1
    assert run.stderr.count("ArithmeticError: as the test asked") == 1
    assert f"This report is in {report}; " in run.stderr
    if rank == 1:
        assert re.search(r"^error: rank 1 \(process \d+\) ended with code 1; ", run.stderr, re.M)


@pytest.mark.slow
def test_a_job_of_a_sweep_that_breaks_stops_no_other_and_changes_no_other(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    options = small_run("trainer.devices=2", "seed=1,2,3", f"hydra.sweep.dir={sweep}")
    act = {"ACT": '{"do": "raise", "seed": 2, "rank": 1, "step": 2}'}
    run = start(sweep, "-m", *options, script=TRACED, **act)
    assert run.end() == 1
    assert not run.processes()
    assert run.stderr.count("error: rank 1 ") == 1
    for job, steps in enumerate([6, 2, 6]):
        folder = sweep / f"seed={job + 1}"
        seen = trace(folder)
        assert [(entry["step"], entry["rank"]) for entry in seen] == [
            (step + 1, rank) for step in range(steps) for rank in (0, 1)
        ]
        assert {(entry["seed"], entry["world_size"]) for entry in seen} == {(job + 1, 2)}
        assert checkpoint(folder, 6).is_file() is (job != 1)
        assert (folder / "summary.json").is_file() is (job != 1)
        assert len(list(folder.glob("crash-*.txt"))) == (job == 1)


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on_with_the_job_that_was_stopped(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    command = ["-m", *small_run("trainer.max_steps=5,150,160", "resume=auto")]
    run = start(tmp_path / "runs", *command)
    run.until(lambda: "\nstep 1/150" in run.stdout)
    run.send(SIGTERM)
    assert run.end() == 143
    (sweep,) = run.folder.iterdir()
    run.folder = sweep / "trainer.max_steps=150"
    step, _ = stopped(run, SIGTERM)
    assert checkpoint(sweep / "trainer.max_steps=5", 5).is_file()
    assert not (sweep / "trainer.max_steps=160").exists()

    environment, calls = fake_scontrol(tmp_path)
    run = start(tmp_path / "runs", *command, SLURM_JOB_ID="4711", **environment)
    run.until(lambda: "\nstep 1/160" in run.stdout)
    complete = re.findall(r"(\S+) is already complete at step (\d+)", run.stderr)
    assert complete == [(f"runs/{sweep.name}/trainer.max_steps=5", "5")]
    assert f"resumes from step {step}: " in run.stdout
    assert checkpoint(sweep / "trainer.max_steps=150", 150).is_file()
    run.send(SIGUSR1)
    assert run.end() == 143
    run.folder = sweep / "trainer.max_steps=160"
    stopped(run, SIGUSR1)
    assert calls.read_text() == "requeue 4711\n"


def test_a_run_out_of_time_ends_after_a_step_and_says_how_it_continues(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
    config = small_config(tmp_path, "trainer.max_time=00:00:00:07")
    module = PretrainingModule(config, 50, 6, [100], {})

    def after(step: int, deadline: float, within: bool = False) -> Any:
        callback = stops.StopConsensus(module, stops.StopSignals(deadline), None)
        trainer: Any = SimpleNamespace(global_step=step - 1, should_stop=False, max_steps=6)
        module.losses.append(torch.tensor(1.0))
        callback.on_before_optimizer_step(trainer)
        trainer.global_step = step
        if within:
            module.losses.append(torch.tensor(1.0))
        callback.on_train_batch_end(trainer)
        module.losses.clear()
        return trainer.should_stop

    new = stops.StopConsensus(module, stops.StopSignals(0), None)
    before: Any = SimpleNamespace(global_step=0, should_stop=False)
    new.on_train_batch_end(before)  # which no step came before
    assert not before.should_stop
    assert not after(3, deadline=time.monotonic() + 60)
    assert not after(6, deadline=0)  # its last step
    assert not after(3, deadline=0, within=True)
    assert (module.progress.out_of_time, module.progress.early_end) == (False, "")
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    assert after(5, deadline=7.0)
    assert module.progress.out_of_time
    assert module.progress.early_end == (
        "trainer.max_time=00:00:00:07 is over; resume= continues the run"
    )


@pytest.mark.parametrize("can_be_replayed", [True, False])
def test_a_replay_is_advised_where_there_is_one(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_be_replayed: bool
) -> None:
    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
    monkeypatch.setattr(PretrainingModule, "can_be_replayed", can_be_replayed)
    module = PretrainingModule(small_config(tmp_path), 50, 6, [100], {})
    callback = stops.StopConsensus(module, stops.StopSignals(), None)
    module.losses.append(torch.tensor(torch.nan))
    trainer: Any = SimpleNamespace(global_step=2)
    with pytest.raises(UserError) as error:
        callback.on_before_optimizer_step(trainer)
    assert ("shows the loss of each example" in str(error.value)) is can_be_replayed
