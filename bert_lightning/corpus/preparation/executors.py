"""Where the workers of a preparation run: executors of `concurrent.futures`, and what acts as one.

Each is a context that yields an object with `submit`, which returns one with `result` and `cancel`.
The libraries are optional, and find their clusters by themselves, by environment variables.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from bert_lightning.config import PrepareConfig, PrepareExecutor
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.hub import UnavailableError

SMALL_TEXT = 50_000_000
"""Bytes of a text below which starting processes takes longer than they save."""
_MOST_WAITING = 1000
"""Tasks that are submitted before the first of them is done."""
_JOBS = 16
"""Jobs of SLURM, where the option names no number."""
_JOB_MINUTES = 240
"""The time limit of a job of SLURM."""
_CONTINUES = "what is finished is kept, and the same command continues from there"


class Submits(Protocol):
    """What this package needs of an executor."""

    def submit(self, task: Callable[[], Any], /) -> Any:
        """Has a worker call a task; the result is a future, or acts as one."""


class InThisProcess(Executor):
    """Calls a function where it is submitted, in this process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments, **named))
        return done


def workers_of(config: PrepareConfig, size: int, folder: Path) -> AbstractContextManager[Submits]:
    """Returns the context of the workers for a text of `size` bytes.

    `folder` is one that all workers see.

    Raises:
        UserError: the library of the executor is not installed.
        RunEnded: a worker died.
    """
    if config.executor is PrepareExecutor.processes:
        workers = process_count(config, size)
        return _processes(workers) if workers > 1 else InThisProcess()
    if find_spec(config.executor.value) is None:
        raise UserError(
            f"data.prepare.executor={config.executor.value} needs the package "
            f"{config.executor.value}, which is not installed: "
            f"pip install 'bert-lightning[{config.executor.value}]', or use "
            "data.prepare.executor=processes"
        )
    if config.executor is PrepareExecutor.submitit:
        return _submitit(config.workers or _JOBS, folder)
    return (_dask if config.executor is PrepareExecutor.dask else _ray)(config.workers)


def process_count(config: PrepareConfig, size: int) -> int:
    """Returns how many processes prepare a text of `size` bytes, where they are this machine's."""
    return config.workers or (_cores() if size >= SMALL_TEXT else 1)


def _cores() -> int:
    """Returns the cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


@contextmanager
def _processes(workers: int) -> Iterator[Submits]:
    """Processes of this machine, which end with this one, however it ends."""
    context = multiprocessing.get_context("spawn")
    before = {*multiprocessing.active_children()}
    executor = ProcessPoolExecutor(workers, context, initializer=_begin)
    try:
        with _without_main():
            yield executor
    except BrokenProcessPool as error:
        raise RunEnded(
            "a worker of the preparation died, perhaps for lack of memory "
            f"(data.prepare.workers={workers}; fewer need less): {_CONTINUES}",
            1,
        ) from error
    finally:
        for process in {*multiprocessing.active_children()} - before:
            process.terminate()
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepares a worker: it ends with the process that started it, which alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _without_main() -> Iterator[None]:
    """A context in which new processes do not run the user's script again.

    `multiprocessing` would import it in each of them, and a script that does not expect that would
    begin its work anew. The tasks are functions of this package, so nobody needs it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _dask(workers: int | None) -> Iterator[Submits]:
    """The workers of a Dask cluster: that of DASK_SCHEDULER_ADDRESS, or one of this machine."""
    import dask
    from distributed import Client

    known = dask.config.get("scheduler-address", None) is not None
    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with _without_main(), Client(**({} if known else local), set_as_default=False) as client:
        yield client.get_executor(pure=False)


@contextmanager
def _ray(workers: int | None) -> Iterator[Submits]:
    """The workers of a Ray cluster: that of RAY_ADDRESS, or one of this machine."""
    import ray

    before = ray.is_initialized()
    if not before:
        cores = None if "RAY_ADDRESS" in os.environ else workers
        ray.init(
            num_cpus=cores, include_dashboard=None if cores is None else False, log_to_driver=False
        )
    try:
        yield _RayWorkers(ray)
    finally:
        if not before:
            ray.shutdown()


class _RayWorkers:
    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, task: Callable[[], Any], /) -> Any:
        return self._ray.remote(_call).remote(task).future()


def _call(task: Callable[[], Any]) -> Any:
    return task()


@contextmanager
def _submitit(jobs: int, folder: Path) -> Iterator[Submits]:
    """Jobs of SLURM, or processes of this machine where there is none."""
    import submitit

    executor = submitit.AutoExecutor(folder=folder / "jobs")
    executor.update_parameters(timeout_min=_JOB_MINUTES)
    yield _Jobs(executor, jobs)


class _Jobs:
    """Jobs take long to start, so all tasks are dealt to a few of them."""

    def __init__(self, executor: Any, number: int) -> None:
        self.submit, self.number = executor.submit, number


def results(
    workers: Submits, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
) -> Iterator[Any]:
    """Yields what a function returns for each call, in their order.

    Raises:
        UserError, UnavailableError, OSError: the call failed with it; no other is begun.
    """
    waiting: deque[Any] = deque()
    here = isinstance(workers, InThisProcess)
    size = ceil(len(calls) / workers.number) if isinstance(workers, _Jobs) else 1
    bundles = (tuple(calls[start : start + size]) for start in range(0, len(calls), size or 1))
    try:
        while True:
            for bundle in islice(bundles, (1 if here else _MOST_WAITING) - len(waiting)):
                task = Task(function, bundle, None if here else str(Path.cwd()))
                waiting.append(workers.submit(task))
            if not waiting:
                return
            for outcome in waiting.popleft().result():
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
    finally:
        for future in waiting:
            future.cancel()


@dataclass(frozen=True)
class Task:
    """Calls of a function by a worker, up to the first that fails with an error to be told."""

    function: Callable[..., Any]
    calls: tuple[tuple[Any, ...], ...]
    folder: str | None
    """The working directory of the run; None in its own process."""

    def __call__(self) -> list[Any]:
        """Returns what the function returns for each call, and last the error."""
        if self.folder is not None:
            os.chdir(self.folder)
            os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a worker a core
        done: list[Any] = []
        try:
            for arguments in self.calls:
                done.append(self.function(*arguments))
        except (UserError, UnavailableError, OSError) as error:
            done.append(error)
        return done
