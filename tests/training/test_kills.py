"""Runs that are killed from outside, at any moment, or whose disk is full: what becomes of them."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from forked import ROOT, Forks, Run, Server, until
from left_behind import assert_same, logged, state

from bert_lightning.pretrained.checkpoints import (
    BEST,
    LAST,
    checkpoints_by_step,
    read_checkpoint,
    step_of,
)
from bert_lightning.runs.curves import unpack_curves

Overrides = Callable[..., list[str]]
pytestmark = pytest.mark.slow
EVERY = 20
"""Steps between two checkpoints."""
STEPS = 120

resource = pytest.importorskip("resource")


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Forks:
    return Forks(tmp_path_factory.mktemp("forks"))


@pytest.fixture(scope="module")
def options(small_run: Overrides) -> Overrides:
    """A small run with dropout: `options(run_dir, steps)`; the same command starts and resumes."""

    def arguments(run_dir: Path, steps: int, *more: str) -> list[str]:
        return small_run(
            f"hydra.run.dir={run_dir}",
            f"trainer.max_steps={steps}",
            f"callbacks.every_n_train_steps={EVERY}",
            "trainer.val_check_interval=50",
            "model.hidden_dropout_prob=0.1",
            "data.test_fraction=0.1",
            "test=true",
            "resume=auto",
            *more,
        )

    return arguments


@pytest.fixture(scope="module")
def whole(options: Overrides, fork: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `STEPS` steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert fork(*options(folder, STEPS)).wait() == 0
    return folder


def newest(run_dir: Path) -> int:
    """The step of the newest checkpoint; every one is read, and so has to be whole."""
    found = checkpoints_by_step(run_dir)
    for path in found:
        read_checkpoint(path)
    return step_of(found[0]) if found else 0


def works_in(run_dir: Path, run: Run) -> bool:
    try:
        return json.loads((run_dir / ".lock.json").read_text())["pid"] == run.pid
    except (OSError, ValueError):
        return False


def half_written(run_dir: Path, run: Run) -> bool:
    return any((run_dir / "checkpoints").glob(f".step=*.ckpt.{run.pid}.tmp"))


def curves(run_dir: Path, logger: str) -> dict[str, list[tuple[int, float]]]:
    """What was logged in training; clocks are left out."""
    found = logged(run_dir, logger)
    return {
        name: curve
        for name, curve in found.items()
        if name.startswith(("train/", "val/", "weights/"))
    }


def assert_same_run(one: Path, other: Path, steps: int) -> None:
    """Weights, optimiser and curves are equal to the bit, and nothing else is left behind."""
    ours, theirs = (run / "checkpoints" / f"step={steps:06d}.ckpt" for run in (one, other))
    assert_same(state(ours), state(theirs))
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    for split in ("train", "validation", "test"):
        assert summaries[0][split] == summaries[1][split]
    assert (one / "loss.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    assert not list(one.rglob("*.tmp"))
    links = [
        (run / "checkpoints" / name).readlink() for run in (one, other) for name in (LAST, BEST)
    ]
    assert links[:2] == links[2:]


def test_twenty_kills(options: Overrides, tmp_path: Path, fork: Forks) -> None:
    steps, rng = 400, random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert fork(*options(whole, steps)).wait() == 0

    killed_in_a_write = 0
    for number in range(20):
        before = newest(killed)
        workers = "batch.num_workers=2" if number % 5 == 4 else "batch.num_workers=0"
        run = fork(*options(killed, steps, workers), step_seconds=0.01, write_seconds=0.0003)
        until(lambda run=run: works_in(killed, run))  # the lock of the killed one is in no way
        if number % 2:
            for _ in range(rng.randint(1, 3)):
                until(lambda run=run: not half_written(killed, run))
                until(lambda run=run: half_written(killed, run))
            time.sleep(rng.uniform(0, 0.2))
        else:
            time.sleep(rng.uniform(0, 1))
        run.kill()
        killed_in_a_write += half_written(killed, run)
        assert before <= newest(killed)
        assert run.step - newest(killed) <= EVERY
    assert killed_in_a_write >= 5
    assert newest(killed) > 2 * EVERY

    for last in (killed / "checkpoints" / f"step={steps:06d}.ckpt", killed / "loss.png"):
        run = fork(*options(killed, steps))
        until(last.exists)
        run.kill()  # while it tests, and while it reports
    (killed / ".run.json.1.tmp").touch()
    run = fork(*options(killed, steps))
    assert run.wait() == 0, run.output
    assert_same_run(killed, whole, steps)
    shown = curves(killed, "tensorboard")
    assert [step for step, _ in shown["train/mlm_loss"]] == list(range(1, steps + 1))
    assert_same(shown, curves(whole, "tensorboard"))


def test_a_table_of_curves_has_each_row_once(
    options: Overrides, tmp_path: Path, fork: Forks, whole: Path
) -> None:
    killed = tmp_path / "killed"
    run = fork(*options(killed, STEPS, "logger=csv"), step_seconds=0.02)
    until(lambda: run.step > EVERY + 5)
    run.kill()
    assert fork(*options(killed, STEPS, "logger=csv")).wait() == 0
    assert_same_run(killed, whole, STEPS)
    progress = read_checkpoint(whole / "checkpoints" / LAST)["bert_lightning"]["progress"]
    expected = unpack_curves(progress["curves"])
    assert curves(killed, "csv") == {
        name: curve for name, curve in expected.items() if not name.startswith("work/")
    }


def test_a_damaged_checkpoint_is_passed_over(
    options: Overrides, tmp_path: Path, fork: Forks, whole: Path
) -> None:
    damaged = shutil.copytree(whole, tmp_path / "damaged", symlinks=True)
    files = checkpoints_by_step(damaged)
    data = bytearray(files[0].read_bytes())
    data[len(data) // 2] ^= 1
    files[0].write_bytes(data)
    run = fork(*options(damaged, STEPS))
    assert run.wait() == 0
    assert f"{files[0]} is corrupt" in run.output
    assert f"resumes from step {step_of(files[1])}: " in run.output
    assert_same_run(damaged, whole, STEPS)

    for path in checkpoints_by_step(damaged):
        path.write_bytes(path.read_bytes()[:-1])
    run = fork(*options(damaged, STEPS))
    assert run.wait() == 2
    message = run.output.splitlines()[-1]
    assert message.startswith("error: all ")
    assert "are corrupted; hydra.run.dir=FOLDER starts another run" in message


def second_rank(run: Run) -> int:
    """The process that a run on two devices started for its second; 0 if it has not yet."""
    try:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        for child in map(int, children):
            if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return child
    except OSError:
        pass
    return 0


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_either_of_two_ranks_is_killed(options: Overrides, tmp_path: Path, fork: Forks) -> None:
    steps, rng = 100, random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert fork(*options(whole, steps, "trainer.devices=2")).wait() == 0

    for rank, early in ((0, False), (1, False), (1, True), (0, True)):
        before = newest(killed)
        run = fork(*options(killed, steps, "trainer.devices=2"), step_seconds=0.01)
        second = until(lambda run=run: second_rank(run))
        if early:  # the second rank still imports, the first waits for it
            time.sleep(rng.uniform(0, 2))
        else:
            more = rng.randint(1, 30)
            until(lambda run=run, step=before + more: run.step >= step)
        killed_at = time.monotonic()
        if rank == 0:
            run.kill()
            said = f"rank 0 (process {run.pid}) is gone"
        else:
            os.kill(second, signal.SIGKILL)
            assert run.wait() == 1, run.output
            said = f"rank 1 (process {second}) was killed by SIGKILL"
        until(lambda second=second: not lives(second), 60)
        assert time.monotonic() - killed_at < 60
        assert said in run.output
        assert run.output.count("error: ") == 1, run.output
        assert "Traceback" not in run.output
        assert before <= newest(killed)
        assert run.step - newest(killed) <= EVERY
    run = fork(*options(killed, steps, "trainer.devices=2"))
    assert run.wait() == 0, run.output
    assert_same_run(killed, whole, steps)
    shown = curves(killed, "tensorboard")
    assert [step for step, _ in shown["train/mlm_loss"]] == list(range(1, steps + 1))
    assert_same(shown, curves(whole, "tensorboard"))


def test_two_runs_in_one_folder(
    options: Overrides, tmp_path: Path, fork: Forks, whole: Path
) -> None:
    command = options(tmp_path / "run", STEPS)
    first = fork(*command, step_seconds=0.2)
    until(lambda: works_in(tmp_path / "run", first))
    second = subprocess.run(
        [sys.executable, ROOT / "train.py", *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert second.returncode == 2
    assert second.stderr.startswith("error: run is in use by a run (")
    assert f"(process {first.pid} on {socket.gethostname()}, since " in second.stderr
    assert second.stderr.count("\n") == 1
    first.kill()
    assert fork(*command).wait() == 0
    assert_same_run(tmp_path / "run", whole, STEPS)


@pytest.fixture
def mount_tmpfs() -> Iterator[Callable[[Path, int], None]]:
    """Mounts a file system of so many bytes, or gives it as many, where this process may."""
    mounted: list[Path] = []

    def mount(folder: Path, size: int) -> None:
        how = f"size={size}" if folder not in mounted else f"remount,size={size}"
        command = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def assert_refused(run: Run, says: str) -> None:
    """It ended with exit code 2 and one message."""
    assert run.wait() == 2, run.output
    (message,) = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert says in message
    assert run.output.rstrip().endswith(message)
    assert "Traceback" not in run.output
    assert "Logging error" not in run.output


def test_files_that_may_not_grow_end_a_run_which_goes_on_later(
    options: Overrides, tmp_path: Path, fork: Forks, whole: Path
) -> None:
    limited = tmp_path / "limited"
    run = fork(*options(limited, STEPS), step_seconds=0.02)
    until(lambda: newest(limited) >= EVERY and run.step < newest(limited) + EVERY)
    size = (limited / "checkpoints" / LAST).stat().st_size
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size // 2, size // 2))
    assert_refused(run, "cannot be written: File too large; the earlier checkpoints are untouched")
    assert EVERY <= newest(limited) < STEPS
    assert run.step - newest(limited) <= EVERY
    assert fork(*options(limited, STEPS)).wait() == 0
    assert_same_run(limited, whole, STEPS)


@pytest.mark.parametrize("logger", ["tensorboard", "csv"])
def test_a_full_disk_ends_a_run_which_goes_on_when_there_is_room(
    options: Overrides,
    tmp_path: Path,
    fork: Forks,
    whole: Path,
    mount_tmpfs: Callable[[Path, int], None],
    logger: str,
) -> None:
    disk, full = tmp_path / "disk", tmp_path / "disk" / "run"
    size = (whole / "checkpoints" / LAST).stat().st_size
    full.mkdir(parents=True)
    command = options(full, STEPS, f"logger={logger}")

    mount_tmpfs(disk, size * 5 // 2)  # the third checkpoint finds no room
    assert_refused(fork(*command), "cannot be written: No space left on device; the earlier")
    left = newest(full)
    assert 2 * EVERY <= left < STEPS
    assert_refused(fork(*command), "bytes free, and two checkpoints of this model take")

    mount_tmpfs(disk, size * 9)
    run = fork(*command, step_seconds=0.02)
    until(lambda: run.step > left)
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:  # somebody else's
            filler.write(b"0" * 512)
    assert_refused(run, "No space left on device")
    assert newest(full) >= left
    assert_refused(fork(*command), "bytes free, and two checkpoints of this model take")
    (disk / "filler").unlink()
    assert fork(*command).wait() == 0
    assert_same_run(full, whole, STEPS)


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[Forks]:
    """Starts runs that may write only where the files' modes let them, though root starts them."""
    prefix = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("root may write anywhere here")
    parent = Server(*prefix)
    yield Forks(tmp_path, parent)
    parent.close()


def test_folders_that_turn_read_only_end_a_run_which_goes_on_later(
    options: Overrides, tmp_path: Path, ordinary_user: Forks, whole: Path
) -> None:
    run_dir = tmp_path / "run"
    run = ordinary_user(*options(run_dir, STEPS), step_seconds=0.02)
    until(lambda: newest(run_dir) >= EVERY)
    (run_dir / "checkpoints").chmod(0o555)
    assert_refused(run, "cannot be written: Permission denied; the earlier checkpoints are")
    left = newest(run_dir)
    run_dir.chmod(0o555)
    run = ordinary_user(*options(run_dir, STEPS))
    assert_refused(
        run, f"the run cannot be written to {run_dir}: Permission denied; hydra.run.dir="
    )
    assert newest(run_dir) == left
    for folder in (run_dir, run_dir / "checkpoints"):
        folder.chmod(0o755)
    assert ordinary_user(*options(run_dir, STEPS)).wait() == 0
    assert_same_run(run_dir, whole, STEPS)
