"""Loggers whose curves go on where a resumed run does."""

import warnings

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from bert_lightning.training.processes import is_first_process
from bert_lightning.training.progress import Curves


def tensorboard_logger(run_dir: str, done: int) -> TensorBoardLogger:
    """A TensorBoard logger; what was logged after step `done` is taken back, and logged again."""
    return TensorBoardLogger(
        run_dir, name="", version="", default_hp_metric=False, purge_step=done + 1
    )


def csv_logger(run_dir: str, curves: Curves) -> CSVLogger:
    """A CSV logger; the file begins with the run's curves so far, as Lightning's own deletes it."""
    logger = CSVLogger(run_dir, name="", version="")
    if not curves or not is_first_process():
        return logger
    rows: dict[tuple[int, bool], dict[str, Tensor | float]] = {}
    for name, curve in curves.items():
        for step, value in curve:
            rows.setdefault((step, name.startswith("val/")), {})[name] = value
    with warnings.catch_warnings():  # that the file is deleted, which is written again at once
        warnings.filterwarnings("ignore", message="Experiment logs directory")
        for step, validation in sorted(rows):
            logger.log_metrics(rows[step, validation], step)
    logger.save()
    return logger
