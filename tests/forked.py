"""Processes that begin at once: each is forked from one that has imported all that they need."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
_SERVER = """
import contextlib, json, os, runpy, sys
from bert_lightning.cli.quick_imports import quick_imports
with quick_imports():
    import matplotlib.backends.backend_agg, matplotlib.figure, tensorboard.compat.tensorflow_stub
    import bert_lightning.cli.commands.train, bert_lightning.cli.many_runs.study
    import bert_lightning.reports.run_report, bert_lightning.training.fit
    with contextlib.suppress(ImportError):  # an extra
        import sklearn.feature_extraction.text, sklearn.linear_model

for line in sys.stdin:
    order = json.loads(line)
    if "ended" in order:
        ended, status = os.waitpid(order["ended"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if ended else None
    else:
        answer = os.fork()
        if not answer:
            break
    print(json.dumps(answer), flush=True)
else:
    sys.exit()

os.setsid()
os.chdir(order["cwd"])
os.environ.clear()
os.environ.update(order["environment"])
for number, file in enumerate((os.devnull, order["stdout"], order["stderr"])):
    os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), number)
sys.argv = order["command"]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Server:
    """The process that others are forked from.

    Args:
        prefix: what its command line begins with, such as `nice`.
    """

    def __init__(self, *prefix: str) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _SERVER],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


@cache
def server() -> Server:
    """The one of this session, which ends with it."""
    return Server()


class Process:
    """A Python script at work, as `subprocess.Popen` would start it in a session of its own.

    Args:
        command: the script and its arguments.
        cwd: where it runs.
        stdout: the file that its standard output is added to.
        stderr: as `stdout`.
        environment: all of its environment, by default this process's.
        parent: what it is forked from.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        stdout: Path,
        stderr: Path,
        environment: Mapping[str, str] = os.environ,
        parent: Server | None = None,
    ) -> None:
        self._parent = parent or server()
        self.returncode: int | None = None
        self.pid: int = self._parent.ask(
            command=list(command),
            cwd=str(cwd),
            stdout=str(stdout),
            stderr=str(stderr),
            environment={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )

    def poll(self) -> int | None:
        """Returns the exit code, or the negative of a signal's number, of what has ended."""
        if self.returncode is None:
            self.returncode = self._parent.ask(ended=self.pid)
        return self.returncode

    def wait(self, timeout: float = 300.0) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def run(
    script: Path, *arguments: Any, cwd: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a script to its end, as `subprocess.run` would; `environment` is added to this one's."""
    command = [str(script), *map(str, arguments)]
    with TemporaryDirectory() as folder:
        stdout, stderr = (Path(folder, name) for name in ("stdout", "stderr"))
        stdout.touch()
        stderr.touch()
        process = Process(command, cwd, stdout, stderr, {**os.environ, **environment})
        try:
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        outputs = (file.read_text(encoding="utf-8") for file in (stdout, stderr))
        return subprocess.CompletedProcess(command, code, *outputs)


class Run:
    """A run of train.py that was started: a process like any other."""

    def __init__(self, process: Process, output: Path, journal: Path) -> None:
        self.pid, self.wait = process.pid, process.wait
        self._output, self._journal = output, journal

    @property
    def output(self) -> str:
        """What it has written to standard output and standard error."""
        return self._output.read_text()

    @property
    def step(self) -> int:
        """The last optimizer step that it has done; 0 before the first."""
        done = self._journal.read_text().split()
        return int(done[-1]) if done else 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        code = self.wait()
        assert code == -signal.SIGKILL, f"ended with {code} before it was killed:\n{self.output}"


class Forks:
    """Starts runs, one at a time.

    Args:
        folder: where they run, and where their output goes.
        parent: what they are forked from.
    """

    def __init__(self, folder: Path, parent: Server | None = None) -> None:
        self.folder, self.parent = folder, parent

    def __call__(self, *options: str, step_seconds: float = 0.0, write_seconds: float = 0.0) -> Run:
        """Starts a run.

        Args:
            options: of the command line.
            step_seconds: by how much each step is slowed.
            write_seconds: by how much each write to a checkpoint's stream is slowed; there are
                hundreds in one.
        """
        output, journal = (self.folder / name for name in ("output", "journal"))
        for file in (output, journal):
            file.write_text("")
        slowed = {"journal": str(journal), "step": step_seconds, "write": write_seconds}
        environment = {**os.environ, "SLOWED": json.dumps(slowed)}
        script = str(Path(__file__).with_name("slowed_train.py"))
        command = [script, *options]
        process = Process(command, self.folder, output, output, environment, self.parent)
        return Run(process, output, journal)


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until something is true; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
        time.sleep(0.002)
    return found
