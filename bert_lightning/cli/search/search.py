"""One search, from the options of its command line to its results."""

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from bert_lightning.cli.command_line import written
from bert_lightning.cli.many_runs.naming import trial_name
from bert_lightning.cli.many_runs.trials import (
    Trials,
    TrialTask,
    metric_of,
    note,
    options_of_hydra,
)
from bert_lightning.cli.search.journal import JOURNAL, Journal, SearchTrial, State
from bert_lightning.cli.search.loop import Loop, Plan
from bert_lightning.cli.search.processes import TrialProcess, slots, visible_gpus
from bert_lightning.cli.search.proposals import propose
from bert_lightning.cli.search.results import Results
from bert_lightning.cli.search.rungs import Halving
from bert_lightning.cli.search.settings import SECTION, SearchConfig, check_settings
from bert_lightning.cli.search.space import Space, Values, overrides, read_space
from bert_lightning.cli.typed import to_typed
from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.config.affects import COMMAND, EXECUTION, PLACE, options
from bert_lightning.errors import UserError, writing
from bert_lightning.reports.comparison.found import find_runs
from bert_lightning.reports.comparison.metric import OPTION, lower_is_better
from bert_lightning.reports.comparison.options import plain_options
from bert_lightning.reports.comparison.ranking import compare
from bert_lightning.reports.comparison.table import lines
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import AUTO, TRIALS
from bert_lightning.terminal import WIDTH
from bert_lightning.work import say, working

_BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_LOCK = ".search.lock"
_INDENT = 12


@dataclass(frozen=True)
class Search:
    """A search as its command line describes it."""

    settings: SearchConfig
    space: Space
    trial: RunConfig
    """The options of one of its trials."""
    metric: str
    lower: bool
    halving: Halving | None
    n_trials: int
    folder: Path
    command: Sequence[str]
    """Starts a trial, but for its values and its folder."""

    @property
    def identity(self) -> dict[str, Any]:
        """Returns whatever makes this search another than others, by the names of the options."""
        own = ("sampler", "seed", "pruner", "min_validations", "reduction_factor")
        free = COMMAND | EXECUTION | PLACE
        values = plain_options(self.trial)
        matter = [one.name for one in options(type(self.trial)) if one.affects & ~free]
        found = {
            **{f"{SECTION}.{name}": getattr(self.settings, name) for name in own},
            OPTION: self.metric,
            **{name: values[name] for name in matter if name not in self.space.grammar},
            **self.space.grammar,
        }
        return dict(json.loads(json.dumps(found)))

    def propose(self, trials: Sequence[SearchTrial]) -> Values | None:
        return propose(self.settings, self.space, self.lower, trials)

    def start(self, trial: SearchTrial, environment: Mapping[str, str]) -> TrialProcess:
        folder = written(str(self.folder / trial.folder))
        own = [*overrides(trial.values), f"resume={AUTO}", f"hydra.run.dir={folder}"]
        return TrialProcess([*self.command, *own, "hydra.mode=RUN"], environment)

    def results(self, journal: Journal) -> Results:
        told = self.metric, self.lower, self.halving, self.space
        return Results(self.folder, *told, journal.trials())


def search(
    config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], task: Any
) -> tuple[int, list[str]]:
    """Searches, or continues a search; prints its results.

    Args:
        config: the composed config of the sweep.
        loader: composes the configs of trials.
        arguments: the overrides of the command line, but for those of Hydra.
        task: starts the trials of other sweeps.

    Returns:
        The exit code, and lines that name the trials that failed.

    Raises:
        UserError: the search is a mistake, or its folder holds another.
    """
    assert isinstance(task, TrialTask), "this sweeper belongs to bert-lightning's commands"
    found = _read(config, loader, arguments, task.trials)
    environments = slots(found.settings.jobs, found.trial, _gpus(found))
    with _held(found.folder):
        journal = _journal(found)
        OmegaConf.save(config, found.folder / "multirun.yaml")
        _announce(found, journal)
        with working("search", found.n_trials, "trials", lambda: _ended(journal)):
            loop = Loop(_plan(found, journal), journal, environments)
            loop.run()
        return _end(found, journal, loop.exit_code)


def _read(
    config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], trials: Trials
) -> Search:
    """Reads and checks a command line; some trials are composed, which checks their options."""
    values: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    settings = SearchConfig(**values)
    check_settings(settings)
    if config.hydra.launcher.get("_target_") != _BASIC_LAUNCHER:
        raise UserError(
            "a search starts its trials itself: omit hydra/launcher; "
            f"{SECTION}.jobs=2 runs two trials at a time"
        )
    space = read_space(settings.params, arguments, loader)
    typed = [
        _typed(loader.load_sweep_config(config, [*space.fixed, *overrides(corner)]))
        for corner in space.corners()
    ]
    default = "val/loss" if isinstance(typed[0], TrainConfig) else "val/error"
    metric = typed[0].optimized_metric or default
    lower = _minimizes(settings, metric)
    fixed = [one for one in space.fixed if not one.startswith("resume=")]
    return Search(
        settings,
        space,
        typed[0],
        metric,
        lower,
        _halving(settings, typed, metric, lower),
        int(min(settings.n_trials, space.size)),
        Path(config.hydra.sweep.dir).absolute(),
        [*trials.command, *fixed, *options_of_hydra(config.hydra.overrides.hydra)],
    )


def _typed(config: DictConfig) -> RunConfig:
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        del own["hydra"]
    typed: RunConfig = to_typed(own)
    return typed


def _minimizes(settings: SearchConfig, metric: str) -> bool:
    """Returns whether a lower metric is better; a UserError if the direction says otherwise."""
    lower = lower_is_better(metric)
    right = "minimize" if lower else "maximize"
    if settings.direction not in (None, right):
        raise UserError(
            f"{SECTION}.direction={settings.direction}: {metric} is better when it is "
            f"{'lower' if lower else 'higher'}: omit the direction, or give {right}"
        )
    return lower


def _halving(
    settings: SearchConfig, typed: Sequence[RunConfig], metric: str, lower: bool
) -> Halving | None:
    if not settings.halves:
        return None
    prunes, way_out = f"{SECTION}.pruner={settings.pruner}", f"{SECTION}.pruner=none"
    if not metric.startswith("val/"):
        raise UserError(
            f"{prunes} follows the validations, and {OPTION}={metric} is no score of them: name "
            f"one such as val/loss, or use {way_out}"
        )
    if any(one.never_validates for one in typed):
        raise UserError(
            f"{prunes} follows the validations, and trainer.limit_val_batches=0 makes none: omit "
            f"it, or use {way_out}"
        )
    last = max(map(_last_validation, typed))
    first = settings.min_validations
    if first >= last:
        raise UserError(
            f"{prunes} pauses trials after validation {first} at the earliest, and a trial has "
            f"{last:.0f}: lower trainer.val_check_interval, or use {way_out}"
        )
    return Halving(first, settings.reduction_factor, lower, last)


def _last_validation(config: RunConfig) -> float:
    """Returns how many validations a run has; infinite where that is not known before."""
    interval, steps = config.trainer.val_check_interval, config.most_steps
    if isinstance(interval, float) and interval <= 1:
        return math.ceil(1 / interval - 1e-9)
    if steps is None or config.trainer.max_epochs is not None:
        return math.inf
    return math.ceil(steps / interval)


def _gpus(found: Search) -> list[str]:
    return visible_gpus(found.trial) if found.settings.jobs > 1 else []


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A context in which no other search uses a folder."""
    with writing("the search", folder, "hydra.sweep.dir"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{shown(folder)} is in use by another search: wait for its end, or stop it; "
                "hydra.sweep.dir=FOLDER starts another"
            ) from None
    try:
        yield
    finally:
        lock.release()


def _journal(found: Search) -> Journal:
    """Opens the journal of a search, or begins it.

    Raises:
        UserError: the folder holds another search or sweep, or `resume=auto` is not given.
    """
    folder, another = shown(found.folder), "hydra.sweep.dir=FOLDER starts another"
    file = found.folder / JOURNAL
    if not file.is_file() and (found.folder / TRIALS).is_file():
        raise UserError(f"{folder} holds a sweep, and no search: {another}")
    journal = Journal(file, found.lower)
    before = journal.identity
    if before is None:
        journal.identify(found.identity)
        return journal
    now = found.identity
    changes = [
        f"{name}={now.get(name)}, and it was {before.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise UserError(f"{folder} holds another search: {'; '.join(changes)}; {another}")
    if found.trial.resume != AUTO:
        raise UserError(
            f"{folder} already holds this search, with {len(journal.trials())} trials: "
            f"resume={AUTO} continues it, and {another}"
        )
    return journal


def _plan(found: Search, journal: Journal) -> Plan:
    def add(values: Values, number: int) -> SearchTrial:
        return journal.add(values, found.space.distributions, trial_name(overrides(values)))

    def noted(trial: SearchTrial, exit_code: int | None) -> None:
        end: dict[str, Any] = {} if exit_code is None else {"exit_code": exit_code}
        if trial.state is State.paused:
            end["paused"] = True
        note(found.folder, trial.number, trial.folder, overrides(trial.values), **end)
        if exit_code is not None:
            found.results(journal).write()

    def tell(trial: SearchTrial | None, text: str) -> None:
        if trial is not None and text == "begins":
            text = f"begins: {' '.join(overrides(trial.values))}"
        _say("search" if trial is None else f"trial {trial.number}", text)

    return Plan(
        found.folder,
        found.n_trials,
        found.metric,
        found.halving,
        found.propose,
        add,
        found.start,
        lambda folder: metric_of(folder, found.metric),
        noted,
        tell,
    )


def _announce(found: Search, journal: Journal) -> None:
    settings, begun = found.settings, len(journal.trials())
    order = "lowest" if found.lower else "highest"
    names = ", ".join(found.space.grammar)
    _say("search", f"{found.n_trials} trials of {names}, for the {order} {found.metric}")
    if found.n_trials < settings.n_trials:
        _say("search", f"there are no more combinations than {found.n_trials}")
    if found.halving is not None:
        rungs = found.halving.rungs()
        more = "" if math.isfinite(found.halving.last) else " and so on"
        _say(
            "search",
            f"successive halving: trials are paused at validations "
            f"{', '.join(map(str, rungs))}{more}, and the best of {settings.reduction_factor} "
            "continues",
        )
    if found.space.outdone:
        _say("search", f"not searched, as the command line sets it: {found.space.outdone[0]}")
    if begun:
        _say("search", f"continues with {begun} trials that have begun")
    _say("folder", shown(found.folder))


def _ended(journal: Journal) -> float:
    return sum(trial.state is not State.running for trial in journal.trials())


def _end(found: Search, journal: Journal, exit_code: int) -> tuple[int, list[str]]:
    results = found.results(journal)
    results.write()
    waiting = {
        trial.folder for trial in results.trials if trial.state in (State.paused, State.pruned)
    }
    if any((found.folder / trial.folder).is_dir() for trial in results.trials):
        runs = [run for run in find_runs([found.folder]) if run.folder.name not in waiting]
        say("\n".join(lines(compare(runs))) if runs else "")
    say("\n".join(results.told()))
    say(f"{'curves':<{_INDENT}}tensorboard --logdir {shown(found.folder)}")
    failed = [trial for trial in results.trials if trial.state is State.failed]
    codes = [exit_code, *(trial.exit_code or 1 for trial in failed)]
    told = [f"{trial.folder} (exit code {trial.exit_code})" for trial in failed]
    messages = [f"trials that failed: {', '.join(told)}; their folders are in {found.folder}"]
    stopped = []
    if exit_code:
        same = found.trial.resume == AUTO
        how = "the same command" if same else f"resume={AUTO} hydra.sweep.dir={shown(found.folder)}"
        stopped = [f"the search was stopped after {len(results.trials)} trials; {how} continues it"]
    return max(codes), messages * bool(failed) + stopped


def _say(label: str, text: str) -> None:
    pieces = wrap(text, WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False)
    for place, piece in enumerate(pieces):
        say(f"{label if not place else '':<{_INDENT}}{piece}")
