"""A run within a worker of Ray Train, which is one of its ranks."""

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch

from bert_lightning.config import RunConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.launching import stop_requests
from bert_lightning.launching.exchange import Begun, Outcome, heard
from bert_lightning.sizing.launcher import RAY


@dataclass(frozen=True, eq=False)
class Job:
    """What the command has each worker do."""

    task: Callable[[Any], None]
    """The command's own function, from its options to its reports."""
    config: RunConfig
    folder: Path
    """The working directory."""
    arguments: Sequence[str]
    """Those of the command, which messages repeat."""
    exchange: Any
    """The actor :class:`Exchange`."""


def work(job: Job) -> None:
    """Runs the job as one rank; only rank 0 is heard.

    An error that another attempt would meet again is told to the command. What a lost worker
    causes is raised, so that Ray starts all of them again.
    """
    rank = ray.train.get_context().get_world_rank()
    os.environ[RAY] = ray.train.torch.get_device().type
    sys.argv[:] = job.arguments
    threading.Thread(target=_await_stop, args=(job.exchange,), daemon=True).start()
    tell = job.exchange.tell.remote
    with heard(tell) if rank == 0 else nullcontext():
        if rank == 0:
            tell(Begun(socket.gethostname()))
        try:
            _enter(job.folder)
            job.task(job.config)
        except RunEnded as ended:
            if ended.exit_code == 1:  # the connection to a lost worker
                raise
            error: Exception = ended
        except UserError as mistake:
            error = mistake
        except Exception:
            error = RuntimeError(f"rank {rank} failed:\n{traceback.format_exc()}")
        else:
            return
    ray.get(tell(Outcome(rank, error)))


def _enter(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"the worker on {socket.gethostname()} cannot use the folder {folder} ({error}): start "
            "the command in a folder that all machines of the cluster see"
        ) from error


def _await_stop(exchange: Any) -> None:
    with suppress(Exception):  # the cluster has ended
        stop_requests.request(ray.get(exchange.stopped.remote()))
