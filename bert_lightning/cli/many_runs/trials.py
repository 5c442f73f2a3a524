"""The trials of a sweep: each is a process of its own, whose end is noted in the sweep's folder."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bert_lightning.cli.command_line import written
from bert_lightning.cli.many_runs import naming as naming  # for the processes of launchers too
from bert_lightning.cli.many_runs.waiting import is_stopped, stop, wait
from bert_lightning.errors import UserError
from bert_lightning.runs.launched import TRIALS

_OF_THE_SWEEP = tuple(
    f"hydra{joint}{name}"
    for joint in "./"
    for name in ("sweep", "launcher", "mode", "run", "callbacks", "job.config")
)
"""Options of Hydra that concern the sweep; the others concern each trial."""


@dataclass(frozen=True)
class Trials:
    """How the trials of a sweep are started; launchers send it to processes of their own."""

    command: Sequence[str]
    """The program with the flags that each trial heeds as well."""
    alike: frozenset[str] = frozenset()
    """The names of the options that all trials have in common."""
    metric: str | None = None
    """What the sweeper gets of each trial; None is the main score of its kind."""
    process: int = 0
    """The process of the sweep."""

    def run(self, trial: HydraConf) -> float:
        """Runs a trial as a process of its own; returns its metric.

        The processes of several devices are started with the command line of their parent: that of
        a sweep would run the whole sweep in each. So every trial is a plain run. One that fails
        stops no other, and its metric is NaN; one that a signal stops ends the sweep.
        """
        folder, sweep = Path(trial.runtime.output_dir), Path(trial.sweep.dir)
        if is_stopped(sweep):
            return self._leave(0)
        options = [
            *trial.overrides.task,
            *options_of_hydra(trial.overrides.hydra),
            "hydra.mode=RUN",
            f"hydra.run.dir={written(str(folder))}",
        ]
        self._note(trial)
        code, stopped = wait(subprocess.Popen([*self.command, *options]))
        self._note(trial, exit_code=code)
        if stopped:
            stop(sweep)
            return self._leave(code)
        if code:
            return math.nan
        try:
            return metric_of(folder, self.metric)
        except UserError as error:  # it would be the same for every other trial
            sys.stderr.write(f"error: {error}\n")
            self._note(trial, exit_code=2)
            stop(sweep)
            return self._leave(2)

    def _leave(self, code: int) -> float:
        """Ends the sweep; a launcher's own process only has no further trial."""
        if os.getpid() == self.process:
            raise SystemExit(code)
        return math.nan

    def _note(self, trial: HydraConf, **end: Any) -> None:
        varied = [one for one in trial.overrides.task if one.partition("=")[0] not in self.alike]
        name = Path(trial.runtime.output_dir).name
        note(Path(trial.sweep.dir), trial.job.num, name, varied, **end)


@dataclass(frozen=True)
class TrialTask:
    """What Hydra's sweepers call with the config of each trial."""

    trials: Trials

    def __call__(self, _: DictConfig) -> float:
        return self.trials.run(HydraConfig.get())


def note(sweep: Path, number: int, folder: str, varied: Sequence[str], **end: Any) -> None:
    """Notes in the sweep's folder that a trial began, or how it ended."""
    line = {"trial": number, "folder": folder, "options": [*varied], **end}
    with (sweep / TRIALS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def options_of_hydra(given: Sequence[str]) -> list[str]:
    """Returns the options of Hydra on the command line of a sweep that concern each trial."""
    return [one for one in given if not one.startswith(_OF_THE_SWEEP)]


def metric_of(folder: Path, name: str | None) -> float:
    """Returns a metric of a complete run, by default the main one; NaN without a validation.

    Raises:
        UserError: it has not logged the one that is named.
    """
    from bert_lightning.reports.comparison.metric import default_metric, require_logged, value_of
    from bert_lightning.runs.curves import read_curves

    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return math.nan
    curves = read_curves(folder)
    if name is not None:
        require_logged(name, summary, curves)
    return value_of(name or default_metric(summary), summary, curves)
