"""The loggers that get the curves of a run; all of them continue when it resumes."""

import importlib.util
import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.config.affects import COMMAND, PLACE, leaves, named
from bert_lightning.config.plain import to_plain
from bert_lightning.errors import UserError
from bert_lightning.extensions import find
from bert_lightning.files import write_text
from bert_lightning.runs.checkpoint_io import TrainedOn
from bert_lightning.runs.curves import Curves, MetricsFile, unpack_curves
from bert_lightning.runs.launched import is_first_process
from bert_lightning.runs.resume import ResumePoint

_IDS = "tracking.json"
"""The run's identity at each tracking service, by which a resumed run continues there."""


def build_loggers(config: RunConfig, resumed: ResumePoint | None) -> list[Logger]:
    """The run's loggers: `metrics.csv` first, then those of the config.

    Raises:
        UserError: the package of one is not installed, or one of your own cannot be found.
    """
    folder, chosen = config.folder, config.logger
    curves = unpack_curves(resumed.progress["curves"]) if resumed is not None else {}
    loggers: list[Logger] = [MetricsLogger(folder, curves)]
    if chosen.tensorboard:
        loggers.append(_tensorboard(folder, resumed.step if resumed is not None else 0))
    known = _ids(folder) if resumed is not None else {}
    services = [("wandb", chosen.wandb, _wandb), ("mlflow", chosen.mlflow, _mlflow)]
    for name, wanted, build in services:
        if wanted and importlib.util.find_spec(name) is None:
            raise UserError(
                f"logger={name} needs the package {name}, which is not installed: "
                f"pip install 'bert-lightning[{name}]', or use logger=csv"
            )
        if wanted and is_first_process():
            loggers.append(build(config, known.get(name)))
    return [*loggers, *(find("logger", name, "logger.own")(config) for name in chosen.own)]


Charts = Mapping[str, Mapping[str, Sequence[str]]]
"""The curves of each chart, by its category and its title."""


def log_config(
    loggers: Sequence[Logger], config: RunConfig, corpus: TrainedOn, charts: Charts
) -> None:
    """Shows a new run's options and corpus in its loggers, and lays out its charts."""
    options = to_plain(asdict(config))
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            writer = logger.experiment
            layout = _layout(charts)
            if isinstance(config, TrainConfig) and config.probe.path is not None:
                layout["probe"] = {"accuracies": ["Multiline", ["^probe/.*_accuracy$"]]}
            writer.add_custom_scalars(layout)
            writer.add_text("config", f"```json\n{json.dumps(options, indent=2)}\n```")
            writer.add_text("corpus", f"{corpus.name}: {corpus.origin}")
            if corpus.fallback_reason:
                writer.add_text("fallback", corpus.fallback_reason)
        else:
            local = named(type(config), PLACE | COMMAND)
            shared = {name: value for name, value in leaves(options) if name not in local}
            logger.log_hyperparams(shared)


def _layout(charts: Charts) -> dict[str, dict[str, list[Any]]]:
    """Returns TensorBoard's layout, whose tags are regular expressions that a tag begins with."""
    return {
        category: {
            title: ["Multiline", [f"^{re.escape(name)}$" for name in names]]
            for title, names in titles.items()
        }
        for category, titles in charts.items()
    }


class MetricsLogger(Logger):
    """The `metrics.csv` that every run has; the first process writes it.

    It stays unchanged until the first value comes: a run that is refused changes nothing.
    """

    name, version = "metrics", ""

    def __init__(self, folder: Path, curves: Curves) -> None:
        super().__init__()
        self._begin = partial(MetricsFile, folder, curves)
        self._file: MetricsFile | None = None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if is_first_process() and step is not None:
            self._file = self._file or self._begin()
            self._file.add(step, metrics)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: `run.json` has the options."""


def _tensorboard(folder: Path, done: int) -> TensorBoardLogger:
    """Builds a TensorBoard logger, which discards what a killed run logged after step `done`.

    A new run discards nothing: TensorBoard reads the files of one second in the order of their
    names, in which the tenth comes before the ninth.
    """
    killed = any(folder.glob("events.out.tfevents.*"))
    purge_step = done + 1 if killed else None
    logger = TensorBoardLogger(
        folder, name="", version="", default_hp_metric=False, purge_step=purge_step
    )
    if is_first_process():
        logger.experiment.purge_step = None  # else files that are opened later discard it as well
    return logger


def _wandb(config: RunConfig, known: str | None) -> WandbLogger:
    import wandb

    if wandb.run is not None:
        wandb.finish()  # of an earlier run in this process
    run_id = known or secrets.token_hex(8)
    _keep_id(config.folder, "wandb", run_id)
    settings = wandb.Settings(  # no command line, environment, machine, packages, code or output
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        console="off",
    )
    return WandbLogger(
        name=config.folder.name,
        save_dir=config.folder,
        project=config.logger.project,
        id=run_id,
        offline=config.logger.offline,
        settings=settings,
    )


def _mlflow(config: RunConfig, known: str | None) -> MLFlowLogger:
    from mlflow.exceptions import MlflowException

    store = config.logger.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    try:
        logger = MLFlowLogger(
            experiment_name=config.logger.project,
            run_name=config.folder.name,
            tracking_uri=store or "sqlite:///mlflow.db",
            run_id=known,
        )
        _keep_id(config.folder, "mlflow", str(logger.run_id))
    except MlflowException as error:
        raise UserError(
            f"logger=mlflow: {str(error).partition('. ')[0]}; logger.tracking_uri=URI names "
            "another store"
        ) from error
    return logger


def _ids(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / _IDS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _keep_id(folder: Path, service: str, run_id: str) -> None:
    write_text(folder / _IDS, json.dumps({**_ids(folder), service: run_id}) + "\n")
