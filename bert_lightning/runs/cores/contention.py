"""Whether other programs take the cores that a run needs; measured on Linux only."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from bert_lightning.runs.cores.waiting import SPIN_COUNT, SPINS, waits_long

_log = logging.getLogger(__name__)
_THREADS = Path("/proc/self/task")
_SECONDS = 30.0
"""The time that is looked at."""
_CONTENDED = 0.8
"""Threads that run less of the time in which they could are worth a line in the log."""

ThreadTimes = Mapping[str, tuple[int, int]]
"""Nanoseconds that each thread ran, and that it was ready to run but had no core."""


def thread_times() -> ThreadTimes:
    """Returns the times of this process's threads; empty where the system does not tell them."""
    found = {}
    for thread in _THREADS.glob("*"):
        try:
            ran, waited, _ = (thread / "schedstat").read_text(encoding="ascii").split()
        except OSError:  # it has ended, or the kernel keeps no such times
            continue
        found[thread.name] = int(ran), int(waited)
    return found


def fraction_run(before: ThreadTimes, after: ThreadTimes) -> float | None:
    """Returns the fraction of the time in which the threads could run that they did run.

    None if that time is not known.
    """
    started = (0, 0)
    ran = sum(times[0] - before.get(name, started)[0] for name, times in after.items())
    waited = sum(times[1] - before.get(name, started)[1] for name, times in after.items())
    return ran / (ran + waited) if ran + waited else None


class SayContention(Callback):
    """Says once, while a run trains, that other programs take its cores."""

    def __init__(self) -> None:
        self._since = 0.0
        self._before: ThreadTimes = {}
        self._said = False

    def on_train_start(self, *_: Any, **__: Any) -> None:
        self._since, self._before = time.monotonic(), thread_times()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self._said or time.monotonic() - self._since < _SECONDS:
            return
        after = thread_times()
        fraction = fraction_run(self._before, after)
        self._since, self._before = time.monotonic(), after
        if fraction is not None and fraction < _CONTENDED:
            self._said = True
            _log.warning("%s", _told(fraction))


def _told(fraction: float) -> str:
    told = (
        f"other programs use this machine's cores: for {_SECONDS:.0f} s, the threads of this run "
        f"ran {fraction:.0%} of the time in which they had work. `nice` lowers the priority of "
        "the others, taskset gives each program cores of its own"
    )
    if torch.get_num_threads() > 1 and waits_long():
        told += (
            f"; {SPIN_COUNT}={SPINS} in the environment, before Python starts, keeps threads that "
            "wait for each other from using the cores too"
        )
    return told
