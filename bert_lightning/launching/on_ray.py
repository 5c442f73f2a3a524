"""A command whose run is trained by the workers of a Ray cluster.

This process starts them, repeats what rank 0 says, and passes stop signals on.
"""

import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from bert_lightning.config import AnyConfig, LauncherConfig, RunConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.launching.exchange import Begun, Exchange, Message, Outcome, repeat
from bert_lightning.runs.launched import AUTO, SIGNALS
from bert_lightning.runs.resume import find_resume_point
from bert_lightning.work import working

_log = logging.getLogger(__name__)
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it logs what rank 0 prints
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""What keeps Ray from doing more than it is asked for; the environment may say otherwise."""
_OBJECT_STORE_BYTES = 100 << 20
"""Of this command's own cluster: nothing large goes through it."""
_SECONDS_BETWEEN_LOOKS = 0.2
_GRACE_SECONDS = 10.0
"""In which the other workers end by themselves, once one of them has ended by an error."""


def train_on_ray(config: AnyConfig, task: Callable[[AnyConfig], None]) -> None:
    """Has Ray's workers run the task; where one is lost, they resume from the newest checkpoint.

    Raises:
        UserError: Ray is not installed, does not start or has too few GPUs; or the run raised it.
        RunEnded: the run raised it, or workers were lost more often than `launcher.max_failures`.
    """
    try:
        import ray
        from ray.train import FailureConfig, ScalingConfig
        from ray.train import RunConfig as RayRunConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        from bert_lightning.launching.ray_worker import Job, work
    except ModuleNotFoundError as error:
        raise UserError(
            f"launcher=ray needs Ray, and the package {error.name} is missing: "
            "pip install 'bert-lightning[ray]', or omit launcher=ray"
        ) from error
    find_resume_point(config)  # here, since the workers resume from whatever they find
    options = config.launcher
    with _cluster(config) as storage:
        on_gpus = _use_gpus(config, ray.cluster_resources().get("GPU", 0))
        exchange = ray.remote(Exchange).options(num_cpus=0).remote()
        own = replace(config, resume=config.resume or AUTO)
        trainer = TorchTrainer(
            partial(work, Job(task, own, Path.cwd(), sys.argv, exchange)),
            torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=options.workers,
                use_gpu=on_gpus,
                resources_per_worker={"CPU": options.cpus_per_worker},
            ),
            run_config=RayRunConfig(
                name="ray",
                storage_path=str(storage),
                failure_config=FailureConfig(max_failures=options.max_failures),
            ),
        )
        _listen(exchange, trainer.fit, options)


@contextmanager
def _cluster(config: RunConfig) -> Iterator[Path]:
    """A context with the cluster of RAY_ADDRESS, or else one of its own on this machine alone.

    Gives the folder where Ray keeps its records, which goes with the context.
    """
    import ray

    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS"):
        storage = config.folder.absolute() / ".ray"
        options["address"] = address
    else:
        # Ray's sockets lie below it, and the path of a socket may have 107 characters.
        short = "/tmp" if os.name == "posix" else None
        storage = Path(tempfile.mkdtemp(prefix="ray-", dir=short))
        options |= {
            "address": "local",
            "num_cpus": max(os.cpu_count() or 1, _cpus(config.launcher)),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(storage),
        }
    try:
        with working("starting Ray"):
            try:
                ray.init(**options)
            except Exception as error:
                where = f"reach the cluster of RAY_ADDRESS={address}" if address else "start"
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"launcher=ray: Ray does not {where}: {reason}") from error
        yield storage
    finally:
        ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _cpus(options: LauncherConfig) -> int:
    return options.workers * options.cpus_per_worker


def _use_gpus(config: RunConfig, there: float) -> bool:
    """Returns whether each worker has a GPU, of so many that the cluster has.

    Raises:
        UserError: the cluster has fewer.
    """
    wanted, workers = config.trainer.accelerator, config.launcher.workers
    if wanted == "cpu" or (wanted == "auto" and not there):
        return False
    if there < workers:
        raise UserError(
            f"launcher.workers={workers} asks for as many GPUs, and Ray finds {there:g}: use "
            f"{f'launcher.workers={there:g}, or ' if there else ''}trainer.accelerator=cpu"
        )
    return True


def _listen(exchange: Any, fit: Callable[[], Any], options: LauncherConfig) -> None:
    """Repeats what rank 0 says until the workers have ended, and passes stop signals to them.

    Raises:
        Exception: the one that ended a worker's run; that of the lowest rank, which knows most.
        RunEnded: Ray gave up; or a stop signal came before the workers did.
    """
    failures: list[Exception] = []

    def train() -> None:
        try:
            fit()
        except Exception as error:
            failures.append(error)

    training = threading.Thread(target=train, daemon=True)
    outcomes: list[Outcome] = []
    starts, passed_on, deadline = 0, 0, math.inf
    with _stop_signals() as received:
        training.start()
        for message in _messages(exchange, training):
            if received and not starts:
                name = signal.Signals(received[0]).name
                raise RunEnded(f"stopped by {name} before the workers began", 128 + received[0])
            if len(received) > passed_on:
                exchange.stop.remote(received[passed_on])
                passed_on += 1
            if isinstance(message, Begun):
                starts += 1
                if starts > 1:
                    _log.warning(
                        "a worker was lost, and Ray started all %s again (launcher.max_failures=%s "
                        "allows that as often)",
                        *(options.workers, options.max_failures),
                    )
            elif isinstance(message, Outcome):
                outcomes.append(message)
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            elif message is not None:
                repeat(message)
            elif time.monotonic() > deadline:
                break
    if outcomes:
        raise min(outcomes, key=lambda outcome: outcome.rank).error
    if failures:
        raise RunEnded(
            f"Ray gave up after it started the workers {starts} times (launcher.max_failures="
            f"{options.max_failures}): {_reason(failures[0])}; resume= continues the run",
            1,
        ) from failures[0]


def _messages(exchange: Any, training: threading.Thread) -> Iterator[Message | None]:
    """Yields what workers tell, or None after a while, until the training has ended."""
    import ray

    waiting = exchange.next.remote()
    while True:
        ended = not training.is_alive()
        if ray.wait([waiting], timeout=_SECONDS_BETWEEN_LOOKS)[0]:
            yield ray.get(waiting)
            waiting = exchange.next.remote()
        elif ended:
            return
        else:
            yield None


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A context that notes stop signals; a second Ctrl-C raises KeyboardInterrupt."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if number in received:
                raise KeyboardInterrupt
            os.write(2, b"\nstopping after this step; Ctrl-C again ends the run at once\n")
        received.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reason(error: Exception) -> str:
    """Returns the line of an error of Ray's that says why, after its own heading."""
    heading, _, rest = str(error).strip().partition("\n")
    return (rest or heading).strip().partition("\n")[0]
