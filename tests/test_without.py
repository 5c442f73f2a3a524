"""A system that lacks something: what the package does without it, one absence at a time."""

import errno
import importlib.machinery
import io
import os
import pickle
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch.utils.data import DataLoader

from benchmarks import steps_table
from benchmarks.machine import machine
from benchmarks.measure import Measured, Result
from bert_lightning import files
from bert_lightning.api import processes as beside
from bert_lightning.cli import main as program
from bert_lightning.cli.commands import evaluation
from bert_lightning.config import BatchConfig, StrategyConfig, StrategyName, TrainConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import LABELERS, TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.inference.export import export
from bert_lightning.pretrained.checkpoints import find_checkpoints
from bert_lightning.reports.page import start
from bert_lightning.runs import allocator, launched, processes
from bert_lightning.runs.curves import MetricsFile, read_curves
from bert_lightning.sizing import micro_batches
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.launcher import RANK_0
from bert_lightning.sizing.machine import peak_memory
from bert_lightning.training.saving import tidy
from bert_lightning.training.strategies import build_strategy

ROOT = Path(__file__).parents[1]


def test_memory_and_load_are_found_without_sysconf_and_getloadavg(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "getloadavg")
    assert micro_batches._available(Devices("cpu", 1, 1, 1)) > 2**20
    assert machine()["cores"] >= 1


def test_stop_signals_are_those_that_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGUSR1")
    found = runpy.run_path(str(Path(launched.__file__)))["SIGNALS"]
    assert found == [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_freed_memory_is_kept_by_glibc_only(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda *_: pytest.fail("there is no glibc"))
    allocator.keep_freed_memory()


def test_the_peak_of_memory_is_in_bytes_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    real, held = peak_memory(), psutil.Process().memory_info().rss
    assert held * 0.9 < real < 2**40
    import resource

    usage = SimpleNamespace(ru_maxrss=5 * 2**20)
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory() == 5 * 2**20  # macOS counts bytes, Linux and BSD kibibytes
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert peak_memory() == 5 * 2**30


def no_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "a required privilege is not held by the client")


def checkpoints(run: Path, losses: dict[int, float]) -> Path:
    folder = run / "checkpoints"
    folder.mkdir(exist_ok=True)
    for step, loss in losses.items():
        file = folder / f"step={step:06d}.ckpt"
        file.write_bytes(b"weights " * 40)
        manifest = f'{{"bytes": 320, "sha256": "", "val_loss": {loss}}}'
        Path(f"{file}.json").write_text(manifest, encoding="utf-8")
    return folder


def test_the_best_and_the_last_checkpoint_are_found_without_links(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "symlink_to", no_links)
    folder = checkpoints(tmp_path, {2: 3.0, 4: 1.0, 6: 2.0})
    tidy(folder, top_k=1)
    assert not (folder / "best.ckpt").is_symlink()
    names = [file.name for file in find_checkpoints(tmp_path)]
    assert names == ["step=000004.ckpt", "step=000006.ckpt"]
    for name, step in (("best", 4), ("last", 6)):
        assert [f.name for f in find_checkpoints(folder / f"{name}.ckpt")] == [
            f"step={step:06d}.ckpt"
        ]
    checkpoints(tmp_path, {8: 0.5})
    tidy(folder, top_k=1)
    assert find_checkpoints(tmp_path)[0].name == "step=000008.ckpt"
    monkeypatch.undo()  # the folder is moved to a system that has links
    tidy(folder, top_k=1)
    assert (folder / "best.ckpt").readlink() == Path("step=000008.ckpt")


@pytest.mark.parametrize("content", [b"", b"../../secrets", b"\xff\xfe", b"step=000009.ckpt.json"])
def test_a_small_file_that_names_no_checkpoint_is_none(tmp_path: Path, content: bytes) -> None:
    folder = checkpoints(tmp_path, {2: 1.0})
    (folder / "best.ckpt").write_bytes(content)
    assert find_checkpoints(folder / "best.ckpt") == [folder / "best.ckpt"]


def test_a_checkpoint_that_cannot_be_removed_now_is_removed_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = checkpoints(tmp_path, {2: 3.0, 4: 1.0, 6: 2.0, 8: 2.0})

    def in_use(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "another process uses the file")

    with monkeypatch.context() as windows:
        windows.setattr(Path, "unlink", in_use)
        windows.setattr(files.os, "replace", in_use)
        tidy(folder, top_k=1)
    assert (folder / "step=000002.ckpt").exists()
    tidy(folder, top_k=1)
    assert not (folder / "step=000002.ckpt").exists()


@pytest.mark.parametrize(("system", "refusals", "written"), [("nt", 3, True), ("posix", 1, False)])
def test_a_file_that_a_scanner_holds_open_is_replaced_a_moment_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, refusals: int, written: bool
) -> None:
    path, replace, left = tmp_path / "summary.json", Path.replace, [None] * refusals

    def refusing(self: Path, target: Path) -> Path:
        if left:
            left.pop()
            raise PermissionError(errno.EACCES, "another process uses the file")
        return replace(self, target)

    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", refusing)
    monkeypatch.setattr(files.os, "name", system)
    try:
        files.write_text(path, "new")
    except PermissionError:
        assert not written
    finally:
        monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == ("new" if written else "old")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_stays_open_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refusing(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "another process uses the file")

    path = tmp_path / "summary.json"
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(Path, "replace", refusing)
    monkeypatch.setattr(files.os, "name", "nt")
    with pytest.raises(PermissionError):
        files.write_text(path, "new")


@pytest.mark.parametrize(
    ("number", "fatal"), [(errno.EINVAL, False), (errno.EACCES, False), (errno.EIO, True)]
)
def test_a_file_system_that_syncs_no_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, fatal: bool
) -> None:
    def refusing(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "open", refusing)
    try:
        files.write_text(tmp_path / "file", "text")
    except OSError:
        assert fatal
    else:
        assert not fatal
    assert (tmp_path / "file").read_text(encoding="utf-8") == "text"


def test_rows_come_later_where_a_spreadsheet_shows_the_curves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curves = MetricsFile(tmp_path, {})
    curves.add(1, {"train/loss": 3.0})

    def refusing(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "another process uses the file")

    with monkeypatch.context() as windows:
        windows.setattr(Path, "open", refusing)
        curves.add(2, {"train/loss": 2.0})
        curves.add(3, {"train/loss": 1.0, "val/loss": 1.5})
    assert read_curves(tmp_path) == {"train/loss": [(1, 3.0)]}
    curves.add(4, {"train/loss": 0.5})
    assert read_curves(tmp_path) == {
        "train/loss": [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.5)],
        "val/loss": [(3, 1.5)],
    }
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "its rows are kept" in caplog.text


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-8"])
def test_any_character_is_printed_in_any_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    launched.show_any_character()
    print("the [MASK] is new → a 0.81, “ü”, █, 北京", flush=True)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    written = sys.stdout.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert written.startswith("the [MASK] is new ")
    assert ("→" if encoding == "utf-8" else "\\u2192") in written


def test_the_log_of_a_run_is_utf_8() -> None:
    for path in (ROOT / "conf" / "hydra").rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert text.count("LogFile") == text.count("encoding: utf-8")


def test_a_program_that_is_an_archive_starts_again_by_its_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bert-lightning.exe` is one: its `__main__` has a name that Python cannot start."""
    spec = importlib.machinery.ModuleSpec("__main__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.setattr(sys, "argv", [r"C:\Scripts\bert-lightning", "--version"])
    program.main()
    assert capsys.readouterr().out.strip()
    assert launched.this_program() == [sys.executable, "-m", "bert_lightning.__main__"]


@pytest.mark.parametrize("name", [r"C:\Users\it's\runs", "/home/o'brien/a, b=c", "ende\\"])
def test_a_folder_of_any_name_reaches_the_process_of_a_run(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    commands: list[list[str]] = []

    def started(command: list[str], **options: Any) -> SimpleNamespace:
        commands.append(command)
        assert options["env"]["PYTHONIOENCODING"] == options["encoding"] == "utf-8"
        return SimpleNamespace(stdout=[], wait=lambda: 0, terminate=lambda: None)

    monkeypatch.setattr(beside.subprocess, "Popen", started)
    beside.train_beside("train", ["seed=1"], PurePath(name))  # type: ignore[arg-type]
    (override,) = OverridesParser.create().parse_overrides(commands[0][-1:])
    assert (override.key_or_group, override.value()) == ("hydra.run.dir", str(PurePath(name)))


def test_patterns_that_no_shell_expanded(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "[c].jsonl"):
        (tmp_path / name).touch()
    names = [tmp_path / "?.jsonl", tmp_path / "[c].jsonl", tmp_path / "absent.jsonl"]
    found = [file.name for file in evaluation._matching(names)]
    assert found == ["a.jsonl", "b.jsonl", "[c].jsonl", "absent.jsonl"]


@pytest.mark.skipif(not hasattr(psutil.Process, "memory_maps"), reason="macOS does not tell")
def test_no_file_of_an_export_is_mapped_when_its_folder_is_renamed(
    monkeypatch: pytest.MonkeyPatch, save_hf: Callable[..., Path], tmp_path: Path
) -> None:
    """Windows renames and removes no file that a process has mapped, as safetensors maps them."""
    rename, renamed = Path.rename, []

    def checked(self: Path, target: Path) -> Path:
        renamed.append(self)
        mapped = [each.path for each in psutil.Process().memory_maps()]
        assert [path for path in mapped if str(self) in path] == []
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", checked)
    for _ in range(2):  # the second replaces the first
        export(save_hf(tmp_path / "source"), tmp_path / "exported")
    assert len(renamed) == 3


def test_a_closed_pipe_is_recognized_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(sys, "stdout", Closed())
    error = OSError(errno.EINVAL, "Invalid argument")
    assert not launched.reader_is_gone(error)
    monkeypatch.setattr(launched.os, "name", "nt")
    assert launched.reader_is_gone(error)
    assert not launched.reader_is_gone(OSError(errno.ENOENT, "No such file"))


def test_a_process_notices_the_end_of_rank_0_where_parents_keep_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Callable[[], str | None]] = []
    monkeypatch.setattr(
        processes, "_watch", lambda gone: (seen.append(gone), SimpleNamespace(set=lambda: 0))[1]
    )
    monkeypatch.setenv(RANK_0, str(os.getppid()))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with processes.ending_with_rank_0():
        (gone,) = seen
        assert gone() is None
        monkeypatch.setattr(psutil, "pid_exists", lambda _: False)
        assert str(gone()).endswith("is gone")


def test_gpus_without_nccl_exchange_over_gloo(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(strategy=StrategyConfig(StrategyName.ddp))
    gpus = Devices("gpu", 2, 2, 1)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    assert build_strategy(config, gpus)._process_group_backend is None  # type: ignore[union-attr]
    assert not caplog.messages
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    assert build_strategy(config, gpus)._process_group_backend == "gloo"  # type: ignore[union-attr]
    assert "torch has no NCCL here" in caplog.text


def batches_of(corpus: PreparedCorpus, config: BatchConfig) -> TrainingBatches:
    return TrainingBatches(corpus, config, 0, StepPartition(0, 1, 1), 6, LABELERS)


def test_a_worker_that_is_not_forked_maps_the_corpus(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    """Python 3.14 forks no workers, nor do macOS and Windows: their datasets are pickled."""
    batches = batches_of(small_corpus, small_batch)
    pickled = pickle.dumps(batches)
    ids = small_corpus.splits["train"].token_ids
    assert len(ids) > 1000
    assert ids[:200].tobytes() not in pickled
    again = pickle.loads(pickled)
    for name, value in vars(small_corpus.splits["train"]).items():
        if name != "_arguments":
            assert (getattr(again.examples[0].split, name) == value).all()
    assert torch.equal(again[3].sequences.token_ids, batches[3].sequences.token_ids)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_build_the_same_batches(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, method: str
) -> None:
    batches = batches_of(small_corpus, small_batch)
    loader = DataLoader(batches, batch_size=None, num_workers=1, multiprocessing_context=method)
    for mine, own in zip(loader, batches, strict=True):  # type: ignore[call-overload]
        assert torch.equal(mine.sequences.token_ids, own.sequences.token_ids)
        assert torch.equal(mine.masked_labels, own.masked_labels)


def test_a_profiler_without_times_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    one = Measured("ours", [1.0], [1.0], 1.0, 1, 0.5, {"forward": 1.0}, {}, 1)
    steps_table.show(Result("cpu", 8, [100], [1.0], {"bf16": 2, "fp32": 1}, [one]))
    shown = " ".join(capsys.readouterr().out.split())
    assert "by operation: not measured, as torch's profiler gives no times on this" in shown


WITHOUT = """
import errno, os, runpy, signal, sys
import lightning, torch, tensorboard, psutil  # theirs is not the question here
sys.modules["resource"] = sys.modules["pwd"] = sys.modules["grp"] = None
for module, names in {
    os: "sysconf getloadavg sched_getaffinity link nice killpg getpgid fork uname mkfifo",
    signal: "SIGUSR1 SIGUSR2 SIGHUP SIGALRM pthread_sigmask sigwait alarm setitimer",
}.items():
    for name in names.split():
        delattr(module, name)
def symlink(*_, **__):
    raise OSError(errno.EPERM, "a required privilege is not held by the client")
os.symlink = symlink
sys.argv = [sys.argv[1], *sys.argv[2:]]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_run_without_what_windows_lacks(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Only `fcntl` stays, which filelock replaces by `msvcrt` there."""
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode("cp1252")
        return done.stdout.decode("cp1252")

    options = small_run("trainer.max_steps=4", "trainer.val_check_interval=2")
    trained = call(str(ROOT / "train.py"), *options, "hydra.run.dir=run")
    assert "fill-in" in trained
    assert "\\u2192" in trained
    resumed = call(
        str(ROOT / "train.py"), *options, "resume=run", "trainer.max_steps=6", "allow_changes=true"
    )
    assert "resumes from step 4" in resumed
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_symlink()
    assert "[SEP]" in call(str(ROOT / "scripts" / "encode.py"), "run", "the crane")


def test_a_checkout_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name == "bert-lightning":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(strategy=strategy, world_size=1, precision="32-true")
    versions = start.machine_of(trainer)["versions"]
    assert versions["bert-lightning"] == "0+unknown"
    assert versions["torch"] == known("torch")
    monkeypatch.setattr(sys, "argv", ["bert-lightning", "--version"])
    program.main()
    assert capsys.readouterr().out == "0+unknown\n"
