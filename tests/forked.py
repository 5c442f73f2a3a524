"""Training runs as processes that begin at once: each is forked from one that has imported all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_SERVER = """
import json, os, runpy, sys, time
sys.path.insert(0, sys.argv[1])
import matplotlib.pyplot, tensorboard.compat.tensorflow_stub
import bert_lightning.cli.commands.train, bert_lightning.training.fit
import bert_lightning.reports.run_report
from bert_lightning.runs import checkpoint_io as checkpoints
from bert_lightning.training.module import PretrainingModule

def slow(cls, name, seconds, then=lambda *_: None):
    original = getattr(cls, name)
    def slower(self, *args):
        time.sleep(seconds)
        result = original(self, *args)
        then(self)
        return result
    setattr(cls, name, slower)

for line in sys.stdin:
    order = json.loads(line)
    if pid := os.fork():
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    output = os.open(order["output"], os.O_WRONLY)
    os.dup2(output, 1), os.dup2(output, 2)
    journal = os.open(order["journal"], os.O_WRONLY)
    slow(checkpoints._Hashing, "write", order["write_seconds"])
    slow(PretrainingModule, "on_train_batch_end", order["step_seconds"],
         lambda module: os.write(journal, b"%d " % module.global_step))
    sys.argv = [f"{sys.argv[1]}/train.py", *order["options"]]
    runpy.run_path(sys.argv[0], run_name="__main__")
    break
"""


class Run:
    """A run of train.py that was started: a process like any other."""

    def __init__(self, pid: int, order: dict[str, Any], returncode: Callable[[], int]) -> None:
        self.pid = pid
        self._order = order
        self.wait = returncode
        """Waits for its end; returns the exit code, or the negative of the signal's number."""

    @property
    def output(self) -> str:
        """What it has written to standard output and standard error."""
        return Path(self._order["output"]).read_text()

    @property
    def step(self) -> int:
        """The last optimiser step that it has done; 0 before the first."""
        done = Path(self._order["journal"]).read_text().split()
        return int(done[-1]) if done else 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        code = self.wait()
        assert code == -signal.SIGKILL, f"ended with {code} before it was killed:\n{self.output}"


class Forks:
    """Starts runs, one at a time.

    Args:
        folder: where they run, and where their output goes.
        prefix: what their command line begins with, such as `nice`.
    """

    def __init__(self, folder: Path, *prefix: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _SERVER, str(ROOT)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *options: str, step_seconds: float = 0.0, write_seconds: float = 0.0) -> Run:
        """Starts a run.

        Args:
            options: of the command line.
            step_seconds: by how much each step is slowed.
            write_seconds: by how much each write to a checkpoint's stream is slowed; there are
                hundreds in one.
        """
        order = {
            "options": options,
            "output": str(self.folder / "output"),
            "journal": str(self.folder / "journal"),
            "step_seconds": step_seconds,
            "write_seconds": write_seconds,
        }
        for file in ("output", "journal"):
            (self.folder / file).write_text("")
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Run(self._answer(), order, self._answer)

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until something is true; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
        time.sleep(0.002)
    return found
