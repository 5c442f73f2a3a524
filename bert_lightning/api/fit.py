"""`bert_lightning.fit`: a run from Python or a notebook."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bert_lightning.api.processes import train_beside
from bert_lightning.api.result import RunResult, read_result
from bert_lightning.cli.from_python import compose_run
from bert_lightning.config import AnyConfig, RunConfig, TrainConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.finetuning.probing.while_training import probes_of
from bert_lightning.log_file import LogFile
from bert_lightning.reports.page.while_training import pages_of
from bert_lightning.reports.run_report import loaded, report
from bert_lightning.reports.summary import summarize
from bert_lightning.runs.folder import crash_report
from bert_lightning.runs.launched import is_first_process, launched_externally
from bert_lightning.sizing.devices import find_devices
from bert_lightning.training import fit as training
from bert_lightning.work import PRINTED, say

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger


def fit(
    *config: TrainConfig | str | list[str],
    callbacks: "Sequence[Callback]" = (),
    loggers: "Sequence[Logger]" = (),
) -> RunResult:
    """Pretrains a BERT, as `bert-lightning train` does, and returns the result.

        fit()  # with the defaults
        fit("model=mini", "data.path=books")  # with options of the command line
        fit(TrainConfig(seed=1, optim=OptimConfig(lr=1e-3)))  # with a whole config

    The run has a folder, by default a new one below `runs`, with its checkpoints, curves and
    `train.log`. An interrupt (Ctrl-C, or the stop button of a notebook) saves a checkpoint after
    the current step; `fit("resume=runs/...")` resumes from it. A run of several devices trains in
    processes of its own, and returns the same result.

    Args:
        config: options, each a string or in a list of strings; or one `TrainConfig`.
        callbacks: Lightning callbacks, beside the run's own; and so the `loggers`.

    Raises:
        UserError: a mistake in the options or the data; the message says what to change.
        RunEnded: the run was interrupted; the message names its checkpoint.
    """
    run, options = compose_run(given(config, TrainConfig))
    try:
        if find_devices(run).world_size > 1 and not launched_externally():
            require_no_objects(run, bool(callbacks or loggers))
            train_beside("train", options, run.folder)
            return read_result(run.folder)
        with messages(run.folder, "train.log"), restored():
            own = [*callbacks, *probes_of(run), *pages_of(run)]
            result = training.fit(run, callbacks=own, loggers=loggers)
            if result.is_main:
                with crash_report(run.folder):
                    say(report(result))
    except RunEnded as ended:
        if ended.exit_code:
            raise
        print(ended)  # it was complete already
        return read_result(run.folder)
    return RunResult(run.folder, loaded(result), result.curves, summarize(result))


def given(
    config: Sequence[AnyConfig | str | list[str]], kind: type[AnyConfig]
) -> AnyConfig | list[str]:
    """Returns the one config of this kind, or all options; a TypeError for anything else."""
    if len(config) == 1 and isinstance(config[0], kind):
        return config[0]
    options: list[Any] = []
    for one in config:
        options += one if isinstance(one, list) else [one]
    if not all(isinstance(option, str) for option in options):
        raise TypeError(f'takes options, such as "seed=1", or one {kind.__name__}')
    return options


def require_no_objects(config: RunConfig, given: bool) -> None:
    """Refuses what the processes of several devices, which are not this one, could not give."""
    several = f"trainer.devices={config.trainer.devices} trains in processes of their own"
    if given:
        raise UserError(
            f"{several}, which objects of this one cannot reach: name them by "
            "callbacks.own=[module:Class] or logger.own=[module:function], or use trainer.devices=1"
        )
    if not config.trainer.enable_checkpointing:
        raise UserError(
            f"{several}, and their model comes back in a checkpoint: omit "
            "trainer.enable_checkpointing=false, or use trainer.devices=1"
        )


@contextmanager
def messages(folder: Path, log: str) -> Iterator[None]:
    """Has the run's messages printed, and written to its `log`, as on the command line.

    A program that handles log messages itself gets them in place of the terminal.
    """
    logger, printed = logging.getLogger("bert_lightning"), logging.getLogger(PRINTED)
    level, handlers = logger.level, list[tuple[logging.Logger, logging.Handler]]()
    if not logger.hasHandlers():
        handlers.append((logger, logging.StreamHandler(sys.stdout)))
    if is_first_process():
        file = LogFile(folder / log, encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers += [(logger, file), (printed, file)]
    for of, handler in handlers:
        of.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        for of, handler in handlers:
            of.removeHandler(handler)
            handler.close()


@contextmanager
def restored() -> Iterator[None]:
    """Restores what Lightning and a run set for the whole process.

    That is the environment, torch's choice of algorithms and the random numbers of the CPU.
    """
    environment, deterministic = dict(os.environ), torch.are_deterministic_algorithms_enabled()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for name in os.environ.keys() - environment:
            del os.environ[name]
        os.environ.update(environment)
