"""Loggers whose curves go on where a resumed run does."""

import csv
import warnings
from pathlib import Path

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from bert_lightning.training.processes import is_first_process


def tensorboard_logger(run_dir: str, done: int) -> TensorBoardLogger:
    """A TensorBoard logger; what was logged after step `done` is taken back, and logged again."""
    return TensorBoardLogger(
        run_dir, name="", version="", default_hp_metric=False, purge_step=done + 1
    )


def csv_logger(run_dir: str, resumed_at: int | None) -> CSVLogger:
    """A CSV logger; the rows up to `resumed_at` stay, which Lightning's own would delete."""
    logger = CSVLogger(run_dir, name="", version="")
    path = Path(run_dir) / _ExperimentWriter.NAME_METRICS_FILE
    if resumed_at is None or not path.is_file() or not is_first_process():
        return logger
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= resumed_at]
    with warnings.catch_warnings():  # that the rows are deleted, which are written again at once
        warnings.filterwarnings("ignore", message="Experiment logs directory")
        for row in rows:
            step = int(row.pop("step"))
            logger.log_metrics({name: float(value) for name, value in row.items() if value}, step)
    logger.save()
    return logger
