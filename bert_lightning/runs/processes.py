"""The processes of one machine: rank 0 starts the others, and all end when one of them dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L  # noqa: N812
import torch.distributed as dist
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from bert_lightning.errors import RunEnded
from bert_lightning.runs.launched import is_first_process

_RANK_0 = "BERT_LIGHTNING_RANK_0"
"""The environment variable that tells the other processes the number of rank 0's process."""
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0
"""In which a process may end by itself, as it does after a stop signal or the loss of a peer."""


def _watch(
    happened: Callable[[], str | None],
    grace: float = 0.0,
    others: Iterable["subprocess.Popen[bytes]"] = (),
) -> threading.Event:
    """Starts a thread that ends this process, and `others`, once `happened` names a reason.

    The main thread gets `grace` seconds to end the run itself. Set the event to end the watch.
    """
    over = threading.Event()

    def watch() -> None:
        while (message := happened()) is None:
            if over.wait(_POLL_SECONDS):
                return
        if not over.wait(grace):
            rank = os.environ.get("LOCAL_RANK", "0")
            sys.stderr.write(f"error: {message}: rank {rank} ends too; resume= continues the run\n")
            sys.stderr.flush()
            for process in others:
                process.kill()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return over


class Launcher(_SubprocessScriptLauncher):
    """Starts the processes as Lightning does, and names the one that dies.

    Lightning's own observer kills everything, rank 0 included, before anyone can say why. Here the
    others end by themselves where they can, and the message names the rank.
    """

    _over = threading.Event()

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        self.cluster_environment.validate_settings(
            num_devices=self.num_processes, num_nodes=self.num_nodes
        )
        if not self.cluster_environment.creates_processes_externally:
            os.environ[_RANK_0] = str(os.getpid())
            self._call_children_scripts()
            self._over = _watch(self.dead, _GRACE_SECONDS, self.procs)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)

    def dead(self) -> str | None:
        """Names a process that failed; first one that a signal killed, as others may follow it."""
        codes = [(process.poll() or 0, rank) for rank, process in enumerate(self.procs, start=1)]
        failed = sorted(code for code in codes if code[0])
        if not failed:
            return None
        code, rank = failed[0]
        killed = f"was killed by {signal.Signals(-code).name}" if code < 0 else ""
        how = killed or f"ended with code {code}"
        return f"rank {rank} (process {self.procs[rank - 1].pid}) {how}"

    def end_others(self, at_once: bool = False) -> None:
        """Waits for the other processes, and kills those that do not end by themselves."""
        self._over.set()
        deadline = time.monotonic() + (0 if at_once else _GRACE_SECONDS)
        for process in self.procs:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def use_own_launcher(trainer: L.Trainer) -> None:
    """Replaces the launcher that Lightning's strategy made, where it made one."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        trainer.strategy._launcher = Launcher(
            launcher.cluster_environment, launcher.num_processes, launcher.num_nodes
        )


@contextmanager
def all_processes(trainer: L.Trainer) -> Iterator[None]:
    """A context in which the processes of a run live, and after which they have ended.

    Raises:
        RunEnded: another process died; the message names it.
    """
    found = trainer.strategy.launcher
    launcher = found if isinstance(found, Launcher) else None
    at_once = False
    try:
        yield
    except BaseException as error:
        by_gloo = "gloo" in str(error).lower() or "by peer" in str(error)
        if isinstance(error, RuntimeError) and (by_gloo or isinstance(error, dist.DistError)):
            raise RunEnded(f"{_who_died(launcher)}; resume= continues the run", 1) from error
        at_once = not isinstance(error, RunEnded)
        raise
    finally:
        if launcher is not None:
            launcher.end_others(at_once)


def _who_died(launcher: Launcher | None) -> str:
    """Names the process that died, once that is known; if rank 0 did, the others end here."""
    if _RANK_0 in os.environ:  # not torchrun's or SLURM's processes, which name it themselves
        for _ in range(round(_GRACE_SECONDS / 2 / _POLL_SECONDS) if is_first_process() else 5):
            if launcher is not None and (message := launcher.dead()):
                return message
            time.sleep(_POLL_SECONDS)
    return "the connection to another process was lost"


@contextmanager
def ending_with_rank_0() -> Iterator[None]:
    """A context in which this process ends when rank 0, which started it, is gone."""
    if is_first_process() or _RANK_0 not in os.environ:
        yield
        return
    parent = int(os.environ[_RANK_0])
    over = _watch(lambda: None if os.getppid() == parent else f"rank 0 (process {parent}) is gone")
    try:
        yield
    finally:
        over.set()
