"""A study of fine-tuning: after its first run, each further one is a process of its own."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from bert_lightning.cli.command_line import written
from bert_lightning.cli.from_python import as_options
from bert_lightning.cli.many_runs.waiting import wait
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import from_plain
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.finetuning.fit import FinetuneResult, finetune
from bert_lightning.finetuning.scoring.records import SUMMARY, is_complete, read_record
from bert_lightning.finetuning.study import StudyRun, config_of, differences, runs_of, steps_of
from bert_lightning.pretrained.checkpoints import checkpoints_by_step
from bert_lightning.reports import finetune_report, study_report
from bert_lightning.reports.page.safely import write_page_of_run
from bert_lightning.reports.page.while_training import pages_of
from bert_lightning.runs.curves import read_curves
from bert_lightning.runs.folder import crash_report, shown
from bert_lightning.runs.launched import AUTO, CONFIG_FILE, is_first_process, launched_externally
from bert_lightning.sizing.launcher import launcher
from bert_lightning.work import say, working

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

_log = logging.getLogger(__name__)
_ERROR = "error: "


def finetune_and_compare(
    config: FinetuneConfig,
    *,
    callbacks: "Sequence[Callback]" = (),
    loggers: "Sequence[Logger]" = (),
) -> FinetuneResult | None:
    """Fine-tunes, then starts the further runs of the study; writes and prints all results.

    `callbacks` and `loggers` are Lightning's; the further runs do without them. Returns the result
    of the first run, or None where an earlier process has completed that one.

    Raises:
        UserError: for whatever the user can put right, in any of the runs.
        RunEnded: a signal stopped one, another process died, or all was complete already.
    """
    environment = dict(os.environ)  # the first run adds its devices
    has_more_runs = config.has_more_runs and not _alone(config)
    result = None
    try:
        own = _continued(config) if has_more_runs else config
        result = finetune(own, callbacks=[*callbacks, *pages_of(own)], loggers=loggers)
        if not result.is_main:
            return result
        with crash_report(config.folder):
            with working("scoring"):
                lines = finetune_report.report(result)
                write_page_of_run(config.folder)
            say(lines)
    except RunEnded as ended:
        if ended.exit_code or not has_more_runs:
            raise
        _log.info("%s", ended)
    if has_more_runs:
        with crash_report(config.folder):
            say(_study(config, environment))
    return result


def _alone(config: FinetuneConfig) -> bool:
    """Returns whether this process cannot start further runs, as a launcher's cannot.

    Raises:
        UserError: the options need some.
    """
    if not launched_externally():
        return False
    if config.seeds > 1 or config.learning_curve:
        option = f"seeds={config.seeds}" if config.seeds > 1 else "learning_curve=true"
        raise UserError(
            f"{option} starts further runs, and {launcher()} starts the processes of one: omit it, "
            "or start this command without a launcher, with trainer.devices=N"
        )
    if config.has_more_runs and is_first_process():
        _log.info(
            "omitted: random weights as a baseline, which a launcher's processes cannot start"
        )
    return True


def _continued(config: FinetuneConfig) -> FinetuneConfig:
    """Returns the options with which a first run that is complete is no mistake."""
    resumes = config.resume is not None and checkpoints_by_step(config.folder)
    return replace(config, resume=AUTO) if resumes else config


def _study(config: FinetuneConfig, environment: Mapping[str, str]) -> str:
    """Runs what a study still lacks, one run after the other; returns the lines of its results."""
    folder = config.folder
    first = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    config = replace(config, optim=_options_of(folder).optim)
    runs = runs_of(config, first)
    places = dict(zip(runs, [folder, *(folder / run.folder for run in runs[1:])], strict=True))
    wanted = {run: config_of(config, run, first) for run in runs[1:]}
    for run, own in wanted.items():
        if is_complete(places[run]):
            _require_same_options(own, places[run])
    missing = [run for run in wanted if not is_complete(places[run])]
    if missing:
        steps = sum(steps_of(wanted[run], first) for run in missing)
        seconds = first["training_seconds"] * steps / first["steps"]
        _log.info(
            "study: %s more %s in %s, about %s of training; %s",
            len(missing), "run" if len(missing) == 1 else "runs", shown(folder / "study"),
            _duration(seconds), _way_out(config),
        )  # fmt: skip
    for number, run in enumerate(missing, 1):
        started = time.monotonic()
        what, place = f"study: run {number} of {len(missing)}, {run.title}", places[run]
        with working(what, steps_of(wanted[run], first), "steps", partial(_steps_in, place)):
            _run(run, wanted[run], places[run], environment)
        record = read_record(places[run])
        score, value = next(iter(record.scores.items()))
        _log.info(
            "study: run %s of %s, %s: %s %.3f (%s)", number, len(missing), run.title,
            score.replace("_", " "), value, _duration(time.monotonic() - started),
        )  # fmt: skip
        if run.random_weights != config.random_weights or run.examples is not None:
            shutil.rmtree(places[run] / "checkpoints")  # nobody will use that model
    lines = study_report.report(folder, {run: read_record(place) for run, place in places.items()})
    write_page_of_run(folder)
    return lines


def _steps_in(folder: Path) -> int:
    """Returns the steps that a run has logged so far."""
    return max((curve[-1][0] for curve in read_curves(folder).values()), default=0)


def _run(
    run: StudyRun, config: FinetuneConfig, folder: Path, environment: Mapping[str, str]
) -> None:
    package = str(Path(__file__).absolute().parents[3])  # a checkout is on this process's path only
    paths = [package, *filter(None, [environment.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "bert_lightning", "finetune", *as_options(config)]
    with TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, f"hydra.run.dir={written(str(folder))}"],
            env={**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # its messages are in its folder
            stderr=errors,
        )
        code, stopped = wait(process)
        errors.seek(0)
        lines = errors.read().decode("utf-8", "replace").split("\n")
    if not code:
        return
    told = [line for line in lines if line.strip()]
    said = next((line for line in told if line.startswith(_ERROR)), (told or ["no message"])[-1])
    where = f"the study's run of {run.title}"
    study_folder = shown(folder.parents[len(run.folder.parts) - 1])
    resume = f"resume={study_folder} continues the study"
    if stopped:
        raise RunEnded(f"stopped during {where}; {resume}", code)
    if code == 2:
        raise UserError(f"{where}: {said.removeprefix(_ERROR)}")
    raise RunEnded(
        f"{where} ended with exit code {code}: {said.removeprefix(_ERROR)}; its messages are in "
        f"{shown(folder / 'finetune.log')}, and {resume}",
        code,
    )


def _require_same_options(config: FinetuneConfig, folder: Path) -> None:
    if changed := differences(config, _options_of(folder)):
        raise UserError(
            f"{shown(folder)} was run with {' '.join(changed)}, unlike its study now: remove that "
            "folder, or start another study"
        )


def _way_out(config: FinetuneConfig) -> str:
    several = [f"seeds={config.seeds}"] * (config.seeds > 1)
    several += ["learning_curve=true"] * config.learning_curve
    omit = f"omit {' and '.join(several)} for fewer" if several else ""
    has_twins = config.baselines and not config.random_weights
    twins = "baselines=false omits random weights" if has_twins else ""
    return ", ".join(filter(None, [omit, twins]))


def _options_of(folder: Path) -> FinetuneConfig:
    text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    return from_plain(FinetuneConfig, json.loads(text))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
