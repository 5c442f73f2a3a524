"""The processes of one machine: rank 0 starts the others, and all end when one of them dies."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L  # noqa: N812
import psutil
import torch.distributed as dist
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from bert_lightning.errors import RunEnded
from bert_lightning.runs.launched import is_first_process
from bert_lightning.sizing.launcher import RANK_0

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0
"""In which a process may end by itself, as it does after a stop signal or the loss of a peer."""
_PATIENCE_SECONDS = 30.0
"""After which a run says that it waits for the processes of other launchers."""
_OF_RANKS = {RANK_0, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"}
"""The variables by which rank 0 tells the others who they are; Lightning keeps them in its own."""
MEETING_SECONDS = 30 * 60.0
"""After which it waits no longer; all prepare the corpus before they meet."""


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
            os.environ[RANK_0] = str(os.getpid())
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
        killed = f"was killed by {_signal_name(-code)}" if code < 0 else ""
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
    at_once, before = False, dict(os.environ)
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
            # A run that starts later from this process would take these for its launcher's.
            for name in _OF_RANKS - before.keys():
                os.environ.pop(name, None)


def _who_died(launcher: Launcher | None) -> str:
    """Names the process that died, once that is known; if rank 0 did, the others end here."""
    if RANK_0 in os.environ:  # not torchrun's or SLURM's processes, which name it themselves
        for _ in range(round(_GRACE_SECONDS / 2 / _POLL_SECONDS) if is_first_process() else 5):
            if launcher is not None and (message := launcher.dead()):
                return message
            time.sleep(_POLL_SECONDS)
    return "the connection to another process was lost"


@contextmanager
def meeting(place: str, rank: int, size: int) -> Iterator[None]:
    """A context in which the processes of a launcher meet at an address and a port.

    torch waits for the others where no signal handler of Python's runs, and says nothing: here a
    stop signal ends this process, and after a while it says what it waits for.

    Raises:
        RunEnded: the others did not come.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waits = f"rank {rank} of {size} waits for the other processes at {place}"
    signals, wakes = socket.socketpair()
    signals.settimeout(_PATIENCE_SECONDS)
    wakes.setblocking(False)

    def watch() -> None:
        try:
            received = signals.recv(1)
        except TimeoutError:
            sys.stderr.write(f"{waits}, for {MEETING_SECONDS / 60:.0f} minutes at most\n")
            sys.stderr.flush()
            signals.settimeout(None)
            received = signals.recv(1)
        if received:  # else they have met
            sys.stderr.write(f"stopped by {_signal_name(received[0])} while {waits}\n")
            sys.stderr.flush()
            os._exit(128 + received[0])

    before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    except dist.DistError as error:
        reason = str(error).partition("\n")[0]
        raise RunEnded(
            f"rank {rank} of {size} did not meet the other processes at {place} ({reason}): "
            "were all of them started, with the same address and port, which a firewall lets "
            "through? (docs/distributed.md)",
            1,
        ) from error
    finally:
        signal.set_wakeup_fd(before)
        wakes.close()
        watching.join()
        signals.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"


@contextmanager
def ending_with_rank_0() -> Iterator[None]:
    """A context in which this process ends when rank 0, which started it, is gone."""
    if is_first_process() or RANK_0 not in os.environ:
        yield
        return
    parent = int(os.environ[RANK_0])

    def gone() -> str | None:
        # On Windows a process keeps the number of its parent.
        there = os.getppid() == parent and psutil.pid_exists(parent)
        return None if there else f"rank 0 (process {parent}) is gone"

    over = _watch(gone)
    try:
        yield
    finally:
        over.set()
