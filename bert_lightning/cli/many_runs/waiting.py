"""Waiting for runs that other processes started, and passing stop signals on to them."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from bert_lightning.runs.launched import SIGNALS

_STOP = ".stop"
"""In a sweep's folder, once a signal has stopped it: no process begins another trial."""
_A_TRIAL = "hydra.mode=RUN"
"""On the command line of every trial, and of the processes that it starts."""


def wait(process: "subprocess.Popen[Any]") -> tuple[int, bool]:
    """Waits for a run, and passes stop signals on to it.

    Returns its exit code, and whether a signal came, which stops this process as well: the exit
    code is then never 0.
    """
    stops: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        stops.append(number)
        if number != signal.SIGINT:  # the terminal sends that one to the run itself
            process.send_signal(number)

    with handling(pass_on):
        code = process.wait()
    code = code if code >= 0 else 128 - code
    return code or (128 + stops[0] if stops else 0), bool(stops)


@contextmanager
def passing_on(sweep: Path) -> Iterator[list[int]]:
    """A context that passes stop signals on to trials which processes of a launcher wait for.

    Yields the signals that came. No trial begins after the first; the second ends this process at
    once, and so does the first where no trial of this machine is at work.
    """
    stops: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        stops.append(number)
        stop(sweep)
        trials = _trials_at_work()
        if len(stops) > 1 or not trials:
            raise SystemExit(128 + number)
        if number != signal.SIGINT:  # the terminal sends that one to the trials themselves
            for trial in trials:
                with suppress(psutil.Error):
                    trial.send_signal(number)

    with handling(pass_on):
        yield stops


def begin(sweep: Path) -> None:
    """Forgets that an earlier sweep in this folder was stopped."""
    (sweep / _STOP).unlink(missing_ok=True)


def stop(sweep: Path) -> None:
    """Has no process begin another trial of a sweep."""
    sweep.mkdir(parents=True, exist_ok=True)
    (sweep / _STOP).touch()


def is_stopped(sweep: Path) -> bool:
    return (sweep / _STOP).exists()


@contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """A context in which this handles stop signals, where it may: in a program's main thread."""
    may_handle = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in SIGNALS * may_handle}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _trials_at_work() -> list[psutil.Process]:
    """Returns the first process of each trial that this process or its launcher started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            parent = process.parent()
            if _is_of_trial(process) and not (parent and _is_of_trial(parent)):
                found.append(process)
    return found


def _is_of_trial(process: psutil.Process) -> bool:
    return _A_TRIAL in process.cmdline()
