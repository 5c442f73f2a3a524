"""The trials of a search as processes, each in a slot with devices of its own."""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import psutil

from bert_lightning.config import RunConfig
from bert_lightning.errors import UserError

_VISIBLE, _THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
_ERROR = "error: "
_PATIENCE_SECONDS = 120.0
"""In which a trial of a killed search saves and ends."""


class Process(Protocol):
    """A trial at work."""

    def poll(self) -> int | None:
        """Returns its exit code, 128 and more after a signal; None while it is at work."""
        ...

    def stop(self, number: int) -> None:
        """Sends it a signal."""
        ...

    def message(self) -> str:
        """Returns what it said of its failure; empty if it said nothing."""
        ...


class TrialProcess:
    """A trial as a run of its own, whose folder has all that it prints.

    Its standard input is empty, and its errors are kept for the search to tell.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._errors = TemporaryFile()  # noqa: SIM115 -- as long as the process
        self._process = subprocess.Popen(
            [*command],
            env={**os.environ, **environment, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def poll(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self, number: int) -> None:
        self._process.send_signal(number)

    def message(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        told = [line for line in lines if line.strip()]
        found = next((line for line in told if line.startswith(_ERROR)), (told or [""])[-1])
        return found.removeprefix(_ERROR)


def slots(jobs: int, config: RunConfig, gpus: Sequence[str]) -> list[Mapping[str, str]]:
    """Returns the environment of each trial that works at the same time: its GPUs, or its threads.

    Args:
        jobs: trials at a time.
        config: the options of a trial.
        gpus: the visible GPUs, as CUDA_VISIBLE_DEVICES names them; none where trials use the CPU.

    Raises:
        UserError: there are too few GPUs, or the options name some by their index.
    """
    devices = config.trainer.devices
    if jobs == 1:
        return [{}]
    if not gpus:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        return [{} if _THREADS in os.environ else {_THREADS: str(threads)}] * jobs
    if isinstance(devices, list) or "," in str(devices):
        raise UserError(
            f"trainer.devices={devices} names the same GPUs for all {jobs} trials of "
            f"hydra.sweeper.jobs={jobs}: give a number of devices"
        )
    each = len(gpus) // jobs if str(devices) in ("auto", "-1") else int(devices)
    if not 0 < each * jobs <= len(gpus):
        raise UserError(
            f"hydra.sweeper.jobs={jobs} trials of trainer.devices={devices} need "
            f"{max(1, each) * jobs} GPUs, and {len(gpus)} are visible: use fewer jobs"
        )
    return [{_VISIBLE: ",".join(gpus[job * each : (job + 1) * each])} for job in range(jobs)]


def visible_gpus(config: RunConfig) -> list[str]:
    """Returns the GPUs that trials may use, as CUDA_VISIBLE_DEVICES names them."""
    if config.trainer.accelerator not in ("auto", "gpu", "cuda"):
        return []
    import torch  # slow to import

    named = [name for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(index) for index in range(count)]


def end_orphan(folder: Path) -> None:
    """Ends a trial that outlived its search, which was killed; it saves before it ends.

    Raises:
        UserError: another run holds the folder, or the trial does not end.
    """
    from bert_lightning.runs.folder import is_running  # with torch, slow to import

    with suppress(OSError, ValueError, KeyError, psutil.Error):
        holder = json.loads((folder / ".lock.json").read_text(encoding="utf-8"))
        process = psutil.Process(holder["pid"])
        if any(str(folder) in word for word in process.cmdline()):
            process.terminate()
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while is_running(folder):
        if time.monotonic() > give_up:
            raise UserError(f"{folder} is in use by another run: stop it, and start again")
        time.sleep(0.1)
