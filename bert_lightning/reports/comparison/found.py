"""Runs as their folders tell of them: complete ones, and why the others are not."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bert_lightning.config.affects import leaves
from bert_lightning.errors import UserError
from bert_lightning.finetuning.study import StudyRun
from bert_lightning.reports.comparison.options import KINDS, config_hash
from bert_lightning.runs.curves import METRICS, Curves, read_curves
from bert_lightning.runs.folder import is_running
from bert_lightning.runs.launched import CONFIG_FILE, SIGNALS, TRIALS, command_of
from bert_lightning.runs.record import SUMMARY

_OF_A_RUN = (CONFIG_FILE, SUMMARY, METRICS, "checkpoints", ".hydra")
_DEPTH = 3
"""Folders below the one given in which runs are looked for."""


@dataclass(frozen=True)
class FoundRun:
    """What the folder of a run tells of it."""

    folder: Path
    problem: str = ""
    """Why it cannot be ranked; empty for a complete run."""
    remarks: Sequence[str] = ()
    """What is unusual about a complete run."""
    command: str = "train"
    options: Mapping[str, Any] = field(default_factory=dict)
    """All of them, by their full names."""
    trial: Mapping[str, str] = field(default_factory=dict)
    """The options that its sweep gave to this trial and not to all, as text."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)


def find_runs(paths: Iterable[Path]) -> list[FoundRun]:
    """Returns the runs in these folders, such as those of a sweep, each once.

    Raises:
        UserError: one does not exist, or there is no run in it.
    """
    found: dict[Path, FoundRun] = {}
    for path in paths:
        folder = path.expanduser().absolute()
        folder = folder.parent if folder.is_file() else folder
        folder = folder.parent if folder.name == "checkpoints" else folder
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist (the working directory is {Path.cwd()})")
        below = [run for place in _run_folders(folder, _DEPTH) for run in _with_seeds(place)]
        if not below:
            raise UserError(
                f"{folder} holds no run: none of {', '.join(_OF_A_RUN)}, here and up to {_DEPTH} "
                "folders below"
            )
        found |= {run.folder: run for run in below}
    return list(found.values())


def read_found(folder: Path) -> FoundRun:
    """Reads the folder of a run, whatever state it is in."""
    trial = _trials(folder.parent).get(folder.name, {})
    ended = _ended(trial)
    run = FoundRun(folder, trial=dict(one.split("=", 1) for one in trial.get("options", [])))
    try:
        config, summary = (_read_dict(folder / name) for name in (CONFIG_FILE, SUMMARY))
        curves = read_curves(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return replace(run, problem=f"corrupted: {error}")
    if config is None:
        lost = f"corrupted: it has no {CONFIG_FILE}"
        return replace(run, problem=lost if summary or curves else ended or "never began to train")
    command, options = command_of(config), dict(leaves(config))
    run = replace(run, command=command, options=options, summary=summary or {}, curves=curves)
    return replace(run, problem=_problem(run, ended), remarks=[*_remarks(run)])


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    is_run = any((folder / name).exists() for name in _OF_A_RUN)
    if is_run or folder.name in _trials(folder.parent):
        yield folder
    elif depth:
        for below in sorted(folder.glob("[!.]*/")):
            yield from _run_folders(below, depth - 1)


def _with_seeds(folder: Path) -> Iterator[FoundRun]:
    """Yields a run, and those of its study that repeat it with other seeds."""
    run = read_found(folder)
    yield run
    if run.command == "finetune":
        own = StudyRun(0, bool(run.options.get("random_weights"))).folder
        for place in sorted((folder / own).parent.glob("seed=*/")):
            other = read_found(place)
            options = {**run.options, "seed": other.options.get("seed")}
            yield replace(other, options=options, trial=run.trial)


def _trials(sweep: Path) -> dict[str, dict[str, Any]]:
    """Returns the last line of each trial in a sweep's folder, by the name of its own."""
    try:
        lines = (sweep / TRIALS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    trials = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):  # a part of a line, or another's file
            trial = json.loads(line)
            trials[trial["folder"]] = trial
    return trials


def _read_dict(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{file.name} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise TypeError(f"{file.name} holds a {type(found).__name__}, and not a dict")
    return found


def _ended(trial: Mapping[str, Any]) -> str:
    """Returns how a trial ended that its sweep has seen the end of; empty for a good end."""
    exit_code = trial.get("exit_code")
    if not exit_code:
        return ""
    if trial.get("paused"):
        return "paused by its search"
    stopped = exit_code - 128 in SIGNALS
    return f"{'stopped' if stopped else 'failed'}, exit code {exit_code}"


def _problem(run: FoundRun, ended: str) -> str:
    """Returns why a run cannot be ranked, and how far it has come; empty for a complete one."""
    steps = [curve[-1][0] for curve in run.curves.values() if curve]
    reached = max(steps, default=0)
    if is_running(run.folder):
        return f"still running, at step {reached}"
    crashed = sorted(run.folder.glob("crash-*.txt"))
    if ended:
        return f"{ended}, at step {reached}"
    if not run.summary:
        report = f"; see {crashed[-1].name}" if crashed else ""
        return f"unfinished, at step {reached}{report}"
    kind = KINDS[run.command]
    if run.summary.get("config_hash") != config_hash(run.options, kind):
        return f"resumed with other options, and not to its end: at step {reached}"
    if reached > (end := run.summary.get("steps", reached)):
        return f"resumed beyond step {end}, and not to its end: at step {reached}"
    return ""


def _remarks(run: FoundRun) -> Iterator[str]:
    if run.summary.get("early_end"):
        yield f"ended early, at step {run.summary['steps']}: {run.summary['early_end']}"
    if run.summary.get("resumed_at"):
        yield f"resumed from step {run.summary['resumed_at']}"
    if run.summary.get("fallback_reason"):
        yield f"trained on {run.summary['corpus']} INSTEAD of its own corpus"
    if run.summary.get("degenerate"):
        yield "predicts the same for every example"
