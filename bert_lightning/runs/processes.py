"""The processes of one machine's devices: started by the first, and ended when one of them dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L  # noqa: N812
import torch.distributed as dist
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from bert_lightning.errors import RunEnded
from bert_lightning.runs.launched import is_first_process

_FIRST = "BERT_LIGHTNING_FIRST_PROCESS"
"""Tells the processes that the first one starts which it is."""
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 10.0
"""What a process gets to end by itself, as it does when its peers are gone or ask it to stop."""


class Launcher(_SubprocessScriptLauncher):
    """Starts the processes as Lightning does, and names the one that dies.

    Lightning's own observer kills everything, the first process included, before anyone can say
    why. Here the others end by themselves where they can, and the message names the rank.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ending = threading.Event()

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        self.cluster_environment.validate_settings(
            num_devices=self.num_processes, num_nodes=self.num_nodes
        )
        if not self.cluster_environment.creates_processes_externally:
            os.environ[_FIRST] = str(os.getpid())
            self._call_children_scripts()
            threading.Thread(target=self._watch, name="watch-ranks", daemon=True).start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)

    def dead(self) -> str | None:
        """Names the processes that ended with an error; None where there is none."""
        failed = {
            rank: process
            for rank, process in enumerate(self.procs, start=1)
            if process.poll() not in (None, 0)
        }
        # Those that a signal killed come first: the others may have failed because of them.
        first = sorted(failed, key=lambda rank: (failed[rank].returncode > 0, rank))
        return _describe(first[0], failed[first[0]]) if first else None

    def end_children(self, at_once: bool = False) -> None:
        """Waits for the other processes, and kills those that do not end by themselves."""
        self._ending.set()
        deadline = time.monotonic() + (0 if at_once else _GRACE_SECONDS)
        for process in self.procs:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        while (message := self.dead()) is None:
            if self._ending.wait(_POLL_SECONDS):
                return
        # The main thread may be about to say it, or all of them to stop as they were asked to.
        if self._ending.wait(_GRACE_SECONDS):
            return
        _say(message)
        for process in self.procs:
            process.kill()
        os._exit(1)


def _describe(rank: int, process: "subprocess.Popen[bytes]") -> str:
    code = process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"rank {rank} (process {process.pid}) {how}"


def use_own_launcher(trainer: L.Trainer) -> None:
    """Replaces the launcher that Lightning's strategy made, where it made one."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        trainer.strategy._launcher = Launcher(
            launcher.cluster_environment, launcher.num_processes, launcher.num_nodes
        )


def _say(message: str) -> None:
    rank = os.environ.get("LOCAL_RANK", "0")
    sys.stderr.write(f"error: {message}: rank {rank} ends too; resume= goes on\n")
    sys.stderr.flush()


def lost_peers(error: BaseException) -> bool:
    """Whether this is what a process sees of another's death."""
    text = str(error)
    return isinstance(error, RuntimeError) and (
        isinstance(error, dist.DistError) or "gloo" in text.lower() or "by peer" in text
    )


def why_lost(trainer: L.Trainer) -> str:
    """Says who died, when this process has lost a peer; waits for it to be known."""
    launcher = trainer.strategy.launcher
    for _ in range(round(_GRACE_SECONDS / 2 / _POLL_SECONDS)):
        if isinstance(launcher, Launcher) and (message := launcher.dead()):
            return message
        time.sleep(_POLL_SECONDS)  # in another process than the first, its watch ends it here
    return "the connection to another process was lost"


@contextmanager
def all_processes(trainer: L.Trainer) -> Iterator[None]:
    """Within it the processes of a run live and end together.

    Raises:
        RunEnded: another process died; the message names it.
    """
    launcher = trainer.strategy.launcher
    at_once = False
    try:
        yield
    except RunEnded:
        raise
    except BaseException as error:
        if lost_peers(error):
            raise RunEnded(f"{why_lost(trainer)}; resume= goes on", 1) from error
        at_once = True
        raise
    finally:
        if isinstance(launcher, Launcher):
            launcher.end_children(at_once)


@contextmanager
def ending_with_the_first() -> Iterator[None]:
    """Ends this process when the one that started it, as one of several devices, is gone."""
    if is_first_process() or _FIRST not in os.environ:
        yield
        return
    over, parent = threading.Event(), int(os.environ[_FIRST])

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            if os.getppid() != parent:
                _say(f"rank 0 (process {parent}) is gone")
                os._exit(1)

    threading.Thread(target=watch, name="watch-rank-0", daemon=True).start()
    try:
        yield
    finally:
        over.set()
