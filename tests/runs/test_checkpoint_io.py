"""Checkpoint files: whole, verified, kept and removed; with real disks that are full."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.config import ModelConfig, OptimConfig, OptimizerName
from bert_lightning.errors import UserError
from bert_lightning.files import sync
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.optim.optimizers import build_optimizer
from bert_lightning.pretrained.checkpoints import (
    CHECKPOINT_FORMAT,
    CorruptCheckpointError,
    checkpoints_by_step,
    find_checkpoints,
    read_checkpoint,
    step_of,
)
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO, _Hashing, expected_size
from bert_lightning.training.saving import require_room, tidy


def contents(step: int, val_loss: float | None = None) -> dict[str, Any]:
    return {
        "global_step": step,
        "state_dict": {"model.weight": torch.arange(3000.0) + step},
        "bert_lightning": {"format": CHECKPOINT_FORMAT, "progress": {"val_loss": val_loss}},
    }


def save(run: Path, step: int, val_loss: float | None = None) -> Path:
    path = run / "checkpoints" / f"step={step:06d}.ckpt"
    VerifiedCheckpointIO().save_checkpoint(contents(step, val_loss), path)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_checkpoint_comes_back_with_its_manifest_from_a_new_folder(tmp_path: Path) -> None:
    path = save(tmp_path / "runs" / "new", 7, 1.5)
    assert names(path.parent) == {path.name, f"{path.name}.json"}
    manifest = json.loads((path.parent / f"{path.name}.json").read_text())
    assert (manifest["step"], manifest["val_loss"]) == (7, 1.5)
    assert manifest["bytes"] == path.stat().st_size
    assert (path.parent / f"{path.name}.json").read_text().endswith("}\n")
    weight = VerifiedCheckpointIO().load_checkpoint(path)["state_dict"]["model.weight"]
    assert torch.equal(weight, torch.arange(3000.0) + 7)


def test_a_file_without_its_manifest_is_replaced_and_gets_one(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    path.with_name(f"{path.name}.json").unlink()
    assert save(tmp_path, 7, 2.5) == path
    assert json.loads(path.with_name(f"{path.name}.json").read_text())["val_loss"] == 2.5
    assert read_checkpoint(path)["bert_lightning"]["progress"]["val_loss"] == 2.5


def test_large_parts_are_hashed_in_a_thread_and_small_ones_at_once(tmp_path: Path) -> None:
    parts = [b"a", b"b" * 2**18, b"c" * (2**18 - 1), b"d" * 2**19, b"e"]
    with (tmp_path / "x").open("wb") as file, ThreadPoolExecutor(1) as threads:
        submitted: list[int] = []
        hasher: Any = SimpleNamespace(
            submit=lambda work, part: submitted.append(len(part)) or threads.submit(work, part)
        )
        stream = _Hashing(file, hasher)
        assert [stream.write(part) for part in parts] == [len(part) for part in parts]
        stream.flush()
        assert (tmp_path / "x").read_bytes() == b"".join(parts)
    assert stream.size == sum(map(len, parts))
    assert stream.sha256.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()
    assert submitted == [2**18, 2**19]


def test_memory_that_is_reused_after_a_write_was_hashed_before(tmp_path: Path) -> None:
    def late(work: Callable[[Any], None], part: Any) -> None:
        time.sleep(0.05)
        work(part)

    part = bytearray(b"x" * 2**18)
    with (tmp_path / "x").open("wb") as file, ThreadPoolExecutor(1) as threads:
        hasher: Any = SimpleNamespace(submit=lambda work, part: threads.submit(late, work, part))
        stream = _Hashing(file, hasher)
        stream.write(part)
        part[:] = b"y" * 2**18
    assert stream.sha256.hexdigest() == hashlib.sha256(b"x" * 2**18).hexdigest()


def test_the_content_is_on_the_disk_before_the_name_and_the_manifest_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[set[str], int]] = []

    def synced(file: IO[bytes]) -> None:
        sync(file)
        found.append((names(tmp_path / "checkpoints"), os.fstat(file.fileno()).st_size))

    monkeypatch.setattr("bert_lightning.runs.checkpoint_io.sync", synced)
    path = save(tmp_path, 7)
    ((there, size),) = found
    assert not {path.name, f"{path.name}.json"} & there
    assert size == path.stat().st_size


@pytest.mark.parametrize(
    ("context", "error", "reason"),
    [
        (None, RuntimeError("the first line\nthe second"), "the first line"),
        (OSError(28, "No space left"), RuntimeError("[enforce fail at x.cc]"), "No space left"),
        (ValueError("not of the disk"), RuntimeError("unexpected pos"), "unexpected pos"),
        (None, OSError(5, "Input/output error"), "Input/output error"),
        (None, OSError("no number"), "no number"),
    ],
)
def test_the_reason_of_a_failed_write_is_that_of_the_disk_where_there_is_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: Exception | None,
    error: Exception,
    reason: str,
) -> None:
    def fail(*_: Any) -> None:
        error.__context__ = context
        raise error

    save(tmp_path, 1)
    before = names(tmp_path / "checkpoints")
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match=rf"=000002.ckpt cannot be written: {reason}; the earlier"):
        save(tmp_path, 2)
    assert names(tmp_path / "checkpoints") == before


@pytest.mark.parametrize("name", OptimizerName)
@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_the_size_of_a_checkpoint_is_known_before_it_is_written(
    tmp_path: Path, name: OptimizerName, ema_decay: float | None
) -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=500)
    config = OptimConfig(name, weight_decay=0.0, ema_decay=ema_decay)
    optimizer = build_optimizer(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    description = {"tokenizer": "x" * 100_000}
    state = model.state_dict()
    contents = {"state_dict": state, "optimizer": optimizer.state_dict(), "about": description}
    if ema_decay is not None:
        contents["average"] = {key: value.clone() for key, value in state.items()}
    torch.save(contents, tmp_path / "x.ckpt")
    size = (tmp_path / "x.ckpt").stat().st_size
    assert expected_size(model, config, description) == pytest.approx(size, rel=0.05)


def test_bit_flips_and_truncations_are_caught(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    whole = path.read_bytes()
    rng = random.Random(0)
    damaged = []
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    damaged += [whole[: len(whole) * part // 4] for part in range(4)] + [whole + b"x"]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CorruptCheckpointError, match="is corrupt"):
            read_checkpoint(path)
    path.write_bytes(whole)
    read_checkpoint(path)


def test_a_damaged_manifest_does_not_pass(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    manifest = path.with_name(f"{path.name}.json")
    whole = manifest.read_text()
    for damaged in (whole[:20], "", "[]", whole.replace('sha256": "', 'sha256": "0')):
        manifest.write_text(damaged)
        with pytest.raises(CorruptCheckpointError, match="is corrupt"):
            read_checkpoint(path)


def test_a_file_that_was_moved_alone_is_still_checked(tmp_path: Path) -> None:
    moved = tmp_path / "mine.ckpt"
    shutil.move(save(tmp_path, 7), moved)
    read_checkpoint(moved)
    data = bytearray(moved.read_bytes())
    data[data.index((torch.arange(3000.0) + 7).numpy().tobytes()) + 100] ^= 1
    moved.write_bytes(data)
    with pytest.raises(CorruptCheckpointError, match="is corrupt"):
        read_checkpoint(moved)


def test_objects_are_refused_though_the_manifest_fits(tmp_path: Path) -> None:
    path = tmp_path / "step=000001.ckpt"
    VerifiedCheckpointIO().save_checkpoint({**contents(1), "extra": Path("x")}, path)
    with pytest.raises(UserError, match="holds Python objects") as refused:
        VerifiedCheckpointIO().load_checkpoint(path, weights_only=False)
    assert "weights_only" not in str(refused.value)


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint_io import VerifiedCheckpointIO, contents
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    VerifiedCheckpointIO().save_checkpoint(contents(2), Path({path!r}))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2], ids=["over the same file", "another file"])
def test_a_failed_write_keeps_what_was_there_and_leaves_nothing_else(
    tmp_path: Path, step: int
) -> None:
    first = save(tmp_path, 1)
    before = names(first.parent)
    path = first.with_name(f"step={step:06d}.ckpt")
    script = LIMITED.format(tests=str(Path(__file__).parent), path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith(f"UserError {path} cannot be written: File too large; ")
    assert "the earlier checkpoints are untouched" in done.stdout
    assert names(first.parent) == before
    assert read_checkpoint(first)["global_step"] == 1


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        save(tmp_path, 1)


OPERATIONS = ("open", "os.rename", "os.remove", "os.symlink", "os.mkdir")


def is_killed(operation: int, work: Callable[[], None]) -> bool:
    """Works in a process of its own that is killed before its n-th operation on files, if any."""
    left = operation

    def hook(event: str, _: Any) -> None:
        nonlocal left
        if event in OPERATIONS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if process := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, -signal.SIGKILL)
        return code != 0
    try:
        sys.addaudithook(hook)
        work()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 2], ids=["another file", "over the same file"])
def test_a_kill_before_any_operation_on_files_leaves_whole_checkpoints(
    tmp_path: Path, step: int
) -> None:
    def save_and_tidy(run: Path, step: int, val_loss: float) -> None:
        save(run, step, val_loss)
        tidy(run / "checkpoints", top_k=1)

    for operation in count(1):
        run = tmp_path / str(operation)
        for earlier in (1, 2):
            save_and_tidy(run, earlier, earlier)
        killed = is_killed(operation, partial(save_and_tidy, run, step, 0.5))
        for path in checkpoints_by_step(run):
            read_checkpoint(path)
        for link in ("last.ckpt", "best.ckpt"):
            read_checkpoint(run / "checkpoints" / link)
        tidy(run / "checkpoints", top_k=1)
        best, newest = (step_of(run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
        assert (newest, best) in ((2, 1), (step, step))
        if not killed:
            break
        for later in (4, 5):
            save_and_tidy(run, later, 0.1)
        kept = {path.name for path in checkpoints_by_step(run)}
        assert {"step=000005.ckpt", "step=000004.ckpt"} <= kept
        manifests = {f"{name}.json" for name in kept}
        assert names(run / "checkpoints") == {*kept, *manifests, "last.ckpt", "best.ckpt"}
    assert operation > 15


@pytest.mark.slow
def test_saving_holds_no_second_copy(tmp_path: Path) -> None:
    script = f"""
import resource, torch
from pathlib import Path
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
state = {{"global_step": 1, "state_dict": {{"w": torch.ones(50_000_000)}}}}
VerifiedCheckpointIO().save_checkpoint({{"global_step": 1}}, Path({str(tmp_path)!r}) / "small.ckpt")
before = peak()
VerifiedCheckpointIO().save_checkpoint(state, Path({str(tmp_path)!r}) / "large.ckpt")
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (tmp_path / "large.ckpt").stat().st_size > 200_000_000
    assert int(done.stdout) < 20_000  # KiB; the file has 195,000


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step, loss in ((1, 2.0), (2, 1.0), (3, None), (4, 1.5), (5, None), (6, 3.0)):
        save(tmp_path, step, loss)
        (folder / f".step={step:06d}.ckpt.123.tmp").write_bytes(b"what a killed write left")
        tidy(folder, top_k=1)
    kept = [path.name for path in checkpoints_by_step(tmp_path)]
    assert kept == ["step=000006.ckpt", "step=000005.ckpt", "step=000002.ckpt"]
    manifests = {f"{name}.json" for name in kept}
    assert names(folder) == {*kept, *manifests, "best.ckpt", "last.ckpt"}
    assert (folder / "last.ckpt").readlink() == Path("step=000006.ckpt")
    assert (folder / "best.ckpt").readlink() == Path("step=000002.ckpt")
    assert [path.name for path in find_checkpoints(tmp_path)] == [kept[2], kept[0], kept[1]]


def test_damaged_files_are_left_alone_and_do_not_count(tmp_path: Path) -> None:
    files = [save(tmp_path, step) for step in range(1, 6)]
    tidy(tmp_path / "checkpoints", top_k=0, corrupted=files[3:])
    assert checkpoints_by_step(tmp_path) == files[:0:-1]


@given(st.sets(st.integers(1, 10**7), min_size=1, max_size=6))
def test_the_newest_is_found_by_its_step(steps: set[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        checkpoints.mkdir()
        for step in steps:
            (checkpoints / f"step={step:06d}.ckpt").touch()
        found = [int(path.stem[5:]) for path in checkpoints_by_step(Path(folder))]
    assert found == sorted(steps, reverse=True)


def test_a_disk_without_room_for_two(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    require_room(tmp_path, free // 4)
    with pytest.raises(UserError, match=r"bytes free, and two checkpoints .* take 2,0"):
        require_room(tmp_path, 10**15 + 4 * 10**13)
