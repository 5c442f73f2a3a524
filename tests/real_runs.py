"""Training runs as processes of their own: started, waited for, signalled, and counted."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil
from forked import ROOT, Process

TRACED = Path(__file__).with_name("traced_train.py")
_PATIENCE = 120.0
"""Seconds for what takes one on an idle machine."""


class Run:
    """A run, or a sweep, in a session of its own, as a terminal or SLURM would start it.

    Args:
        folder: where the command line has it leave what it makes.
        arguments: the command line.
        script: `train.py`, or what stands for it.
        environment: what is added to this process's environment.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        script: Path = ROOT / "train.py",
        **environment: str,
    ) -> None:
        self.folder = folder
        self.cwd = folder.parent
        outputs = [NamedTemporaryFile(dir=self.cwd, delete=False) for _ in range(2)]  # noqa: SIM115
        self._outputs = [Path(output.name) for output in outputs]
        for output in outputs:
            output.close()
        self.process = Process(
            [str(script), *arguments], self.cwd, *self._outputs, {**os.environ, **environment}
        )

    @property
    def stdout(self) -> str:
        return self._outputs[0].read_text()

    @property
    def stderr(self) -> str:
        return self._outputs[1].read_text()

    def until(self, true: Callable[[], Any]) -> Any:
        """Waits for something to be true of a run that is at work, and returns what it is."""
        deadline = time.monotonic() + _PATIENCE
        while not (value := true()):
            ended = self.process.poll()
            if ended is not None or time.monotonic() > deadline:
                raise AssertionError(f"exit code {ended}:\n{self.stdout}\n{self.stderr}")
            time.sleep(0.005)
        return value

    def until_it_trains(self) -> None:
        self.until(lambda: re.search(r"^step \d+/", self.stdout, re.MULTILINE))

    def send(self, number: int) -> None:
        """Signals the process that was started, and no other."""
        self.process.send_signal(number)

    def send_to_all(self, number: int) -> None:
        """Signals every process of the run, as a terminal's Ctrl-C and SLURM do."""
        os.killpg(self.process.pid, number)

    def end(self) -> int:
        """Waits for the end; returns the exit code."""
        try:
            return self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"goes on:\n{self.stdout}\n{self.stderr}") from None

    def processes(self) -> dict[int, str]:
        """The command lines of the run's processes, by their number: those of its session."""
        found = {}
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):  # it has ended
                ours = os.getsid(process.pid) == self.process.pid
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def process_of_rank_1(self) -> int:
        """The number of the process that Lightning starts for the second device, or 0."""
        name = "hydra.job.name=train_ddp_process_1"
        return next((pid for pid, command in self.processes().items() if name in command), 0)

    def trace(self, kind: str = "train") -> list[dict[str, Any]]:
        """What all devices of a traced run wrote down, in the order of steps and devices."""
        return trace(self.folder, kind)


def trace(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    """What traced runs in this folder wrote down of one kind, in the order of steps and ranks."""
    entries = [
        json.loads(line)
        for file in sorted(folder.glob("trace-*.jsonl"))
        for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")  # the last one may be being written
    ]
    return sorted(
        (entry for entry in entries if entry["kind"] == kind),
        key=lambda entry: (entry["step"], entry["rank"]),
    )
