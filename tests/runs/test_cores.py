"""Threads wait briefly for each other, and contended cores are told once."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

import bert_lightning
from bert_lightning.cli import main
from bert_lightning.runs.cores import contention, waiting
from bert_lightning.runs.cores.contention import SayContention, fraction_run, thread_times

ROOT = Path(__file__).parents[2]
TORCH = find_spec("torch")
assert TORCH is not None
assert TORCH.origin is not None
LIBGOMP = sorted(Path(TORCH.origin).parent.glob("lib/libgomp*.so*"))
CODE = """
import ctypes, sys
from bert_lightning.runs.cores import waiting
waiting.os.getloadavg = lambda: (9999.0, 0.0, 0.0)
waiting.wait_briefly_if_busy()
ctypes.CDLL(sys.argv[1])
"""
NAMES = (waiting.SPIN_COUNT, "OMP_WAIT_POLICY")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="libgomp and schedstat are Linux's")


@pytest.mark.skipif(not LIBGOMP, reason="this torch brings no libgomp")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "300"),
        ({"GOMP_SPINCOUNT": "70"}, "70"),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
    ],
)
def test_torchs_openmp_takes_the_count_unless_the_user_gave_one(
    given: dict[str, str], found: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, str(LIBGOMP[0])],
        env={**environment, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(ROOT), **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{found}'" in done.stderr


@pytest.fixture
def before_torch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process on Linux whose environment says nothing, and that has not loaded torch."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "getloadavg", lambda: (9999.0, 0.0, 0.0), raising=False)
    return monkeypatch


def test_a_quiet_machine_keeps_libgomps_own_rule(before_torch: pytest.MonkeyPatch) -> None:
    before_torch.setattr(os, "cpu_count", lambda: 4)
    for load, busy in ((2.9, False), (3.0, True)):
        before_torch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        waiting.wait_briefly_if_busy()
        assert (waiting.SPIN_COUNT in os.environ) is busy


def test_a_command_sets_it_before_its_imports(before_torch: pytest.MonkeyPatch) -> None:
    found = []

    def function(name: str) -> Callable[..., None]:
        found.append((name, os.environ[waiting.SPIN_COUNT]))
        return lambda *_: None

    before_torch.setattr(main, "_function", function)
    main.command("train")([])
    assert found == [("train", "300")]


@pytest.mark.parametrize("name", ["fit", "finetune", "load"])
def test_so_does_python(before_torch: pytest.MonkeyPatch, name: str) -> None:
    for module in ("finetune", "load"):  # where the import of the three begins, and ends here
        before_torch.setitem(sys.modules, f"bert_lightning.api.{module}", None)
    with suppress(ImportError):
        getattr(bert_lightning, name)
    assert os.environ[waiting.SPIN_COUNT] == "300"


def test_where_torch_is_loaded_already_it_is_too_late(before_torch: pytest.MonkeyPatch) -> None:
    before_torch.setitem(sys.modules, "torch", os)
    waiting.wait_briefly_if_busy()
    assert waiting.SPIN_COUNT not in os.environ
    assert waiting.waits_long()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_another_openmp(before_torch: pytest.MonkeyPatch, platform: str) -> None:
    before_torch.setattr(sys, "platform", platform)
    waiting.wait_briefly_if_busy()
    assert waiting.SPIN_COUNT not in os.environ
    assert not waiting.waits_long()


def test_the_fraction_is_of_the_time_in_which_threads_could_run() -> None:
    before = {"1": (100, 100), "ended": (500, 500)}
    after = {"1": (130, 110), "begun": (0, 20)}
    assert fraction_run(before, after) == 0.5
    assert fraction_run(after, after) is None
    assert fraction_run({}, {}) is None


def test_without_schedstat_there_is_no_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    monkeypatch.setattr(contention, "_THREADS", tmp_path)
    assert thread_times() == {}


@contextmanager
def competing(core: int) -> Iterator[None]:
    """Another program that computes on one core."""
    code = f"import os; os.sched_setaffinity(0, [{core}]); print(flush=True)\nwhile True: pass"
    program = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.readline()
    try:
        yield
    finally:
        program.kill()
        program.communicate()


@on_linux
def test_a_core_that_is_contended_is_measured() -> None:
    cores = os.sched_getaffinity(0)
    with competing(min(cores)):
        os.sched_setaffinity(0, [min(cores)])
        try:
            before, ends = thread_times(), time.monotonic() + 0.1
            while time.monotonic() < ends:
                pass
            fraction = fraction_run(before, thread_times())
        finally:
            os.sched_setaffinity(0, cores)
    assert fraction is not None
    assert 0 < fraction < 0.8


class Machine:
    """A clock, and threads that run a fraction of the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.ran = self.waited = 0
        monkeypatch.setattr(contention.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(contention, "thread_times", lambda: {"1": (self.ran, self.waited)})

    def train(self, callback: SayContention, seconds: int, fraction: float) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.ran += round(1e9 * fraction)
            self.waited += round(1e9 * (1 - fraction))
            callback.on_train_batch_end(None)  # type: ignore[arg-type]


def test_contended_cores_are_told_once(
    before_torch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine, callback = Machine(before_torch), SayContention()
    callback.on_train_start()
    with caplog.at_level(logging.INFO):
        machine.train(callback, 60, 0.9)
        assert not caplog.messages
        machine.train(callback, 29, 0.4)
        assert not caplog.messages
        machine.train(callback, 60, 0.4)
    (line,) = caplog.messages
    assert "for 30 s, the threads of this run ran 40% of the time" in line


@pytest.mark.parametrize(
    ("threads", "set_before", "told"), [(2, False, True), (1, False, False), (2, True, False)]
)
def test_the_line_names_the_setting_that_came_too_late(
    before_torch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    threads: int,
    set_before: bool,
    told: bool,
) -> None:
    before_torch.setattr(contention.torch, "get_num_threads", lambda: threads)
    if set_before:
        waiting.wait_briefly_if_busy()
    machine, callback = Machine(before_torch), SayContention()
    callback.on_train_start()
    machine.train(callback, 30, 0.4)
    assert ("GOMP_SPINCOUNT=300 in the environment" in caplog.text) is told
