"""A sweep: each trial is a process of its own, and those that fail are named at the end."""

import json
import math
import subprocess
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from bert_lightning.cli.command_line import written
from bert_lightning.cli.many_runs.waiting import handling, wait
from bert_lightning.errors import UserError

_FAILED = "failed.jsonl"
"""In the sweep's folder; a line for each trial that failed."""
_STOPPED = "stopped"
"""In the sweep's folder once it was stopped, whatever process its trials wait in; the exit code."""
_OF_THE_SWEEP = tuple(
    f"hydra{joint}{name}"
    for joint in "./"
    for name in ("sweep", "launcher", "mode", "run", "callbacks")
)
"""Options of Hydra that concern the sweep; the others concern each trial."""


@dataclass(frozen=True)
class Trials:
    """How the trials of a sweep are started; launchers send it to processes of their own."""

    command: Sequence[str]
    """The program with the flags that each trial heeds as well."""

    def run(self, trial: HydraConf) -> float:
        """Runs a trial as a process of its own; returns its joint validation loss.

        The processes of several devices are started with the command line of their parent: that of
        a sweep would run the whole sweep in each. So every trial is a plain run. One that fails
        stops no other, and its loss is NaN; one that is stopped stops the sweep, whose trials all
        learn of it from a file, as a launcher has no other way to tell them.
        """
        folder, stopped_file = trial.runtime.output_dir, Path(trial.sweep.dir) / _STOPPED
        if stopped_file.exists():
            return math.nan
        options = [
            *trial.overrides.task,
            *(given for given in trial.overrides.hydra if not given.startswith(_OF_THE_SWEEP)),
            "hydra.mode=RUN",
            f"hydra.run.dir={written(folder)}",
        ]
        code, stopped = wait(subprocess.Popen([*self.command, *options]), stopped_file.exists)
        if stopped:
            stopped_file.write_text(str(code), encoding="utf-8")
            return math.nan
        if code:
            _note_failure(trial, code)
            return math.nan
        return _validation_loss(Path(folder))


def sweep(
    composer: Hydra, asked: Namespace, config: DictConfig, trials: Trials
) -> tuple[int, str | None]:
    """Runs the trials of a sweep by Hydra's sweeper and launcher, whichever the config names.

    Returns the exit code, and the line that names the trials that failed, or says that it was
    stopped.

    Raises:
        UserError: all trials would have the same folder.
    """
    if config.run_dir:
        raise UserError(
            f"run_dir={config.run_dir} would be the folder of every trial of this sweep; "
            "hydra.sweep.dir=FOLDER names the sweep's, in which each trial has its own"
        )
    folder = Path(config.hydra.sweep.dir)
    stopped_file = folder / _STOPPED
    for earlier in (folder / _FAILED, stopped_file):
        earlier.unlink(missing_ok=True)
    # Hydra composes the config again, and would give the folder the time of that moment.
    own = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir={written(str(folder))}"]

    def job(_: DictConfig) -> float:
        return trials.run(HydraConfig.get())

    def stop(number: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stopped_file.write_text(str(128 + number), encoding="utf-8")

    with handling(stop):
        composer.multirun(asked.config_name, job, [*asked.overrides, *own])
    if stopped_file.exists():
        told = f"the sweep was stopped; its trials are in {folder}, and resume=FOLDER continues one"
        return int(stopped_file.read_text(encoding="utf-8")), told
    parsed = OverridesParser.create().parse_overrides(asked.overrides)
    alike = {one.get_key_element() for one in parsed if not one.is_sweep_override()}
    return _failures(folder / _FAILED, alike)


def _failures(file: Path, alike: set[str]) -> tuple[int, str | None]:
    """Returns the highest exit code, and the line that names the trials that failed.

    It leaves out the options that are `alike` in all trials.
    """
    if not file.is_file():
        return 0, None
    lines = file.read_text(encoding="utf-8").splitlines()
    failed = sorted(map(json.loads, lines), key=lambda one: one["trial"])
    shown = [
        f"{one['trial']} ("
        + " ".join(given for given in one["options"] if given.partition("=")[0] not in alike)
        + f"; exit code {one['exit_code']})"
        for one in failed
    ]
    code = max(one["exit_code"] for one in failed)
    return code, f"trials that failed: {', '.join(shown)}; their folders are in {file.parent}"


def _note_failure(trial: HydraConf, code: int) -> None:
    line = {"trial": trial.job.num, "exit_code": code, "options": [*trial.overrides.task]}
    with (Path(trial.sweep.dir) / _FAILED).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _validation_loss(folder: Path) -> float:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return math.nan
    scores = summary.get("loaded", summary)  # those of the model that `load` takes
    return float(scores.get("validation", {}).get("loss", math.nan))
