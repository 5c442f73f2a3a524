"""Loggers whose curves go on where a resumed run does."""

import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from bert_lightning.runs.launched import is_first_process
from bert_lightning.runs.progress import Curves


def tensorboard_logger(run_dir: Path, done: int) -> TensorBoardLogger:
    """A TensorBoard logger; what was logged after step `done` is taken back, and logged again."""
    logger = TensorBoardLogger(
        run_dir, name="", version="", default_hp_metric=False, purge_step=done + 1
    )
    if is_first_process():
        logger.experiment.purge_step = None  # else files that are opened later take it back as well
    return logger


def csv_logger(run_dir: Path, curves: Curves) -> CSVLogger:
    """A CSV logger; the file begins with the run's curves so far, as Lightning's own deletes it."""
    logger = CSVLogger(run_dir, name="", version="")
    if not is_first_process():
        return logger
    with warnings.catch_warnings():  # that the file is deleted, whose rows are written again
        warnings.filterwarnings("ignore", message="Experiment logs directory")
        _ = logger.experiment
    rows: dict[tuple[int, bool], dict[str, Tensor | float]] = {}
    for name, curve in curves.items():
        for step, value in curve:
            rows.setdefault((step, name.startswith("val/")), {})[name] = value
    for step, validation in sorted(rows):
        logger.log_metrics(rows[step, validation], step)
    logger.save()
    return logger
