"""One search, from the options of its command line to its results."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from bert_lightning.cli.many_runs.naming import trial_name
from bert_lightning.cli.many_runs.trials import TrialTask, metric_of, note
from bert_lightning.cli.search.described import Search, read_search
from bert_lightning.cli.search.journal import JOURNAL, Journal, SearchTrial, State
from bert_lightning.cli.search.loop import Loop, Plan
from bert_lightning.cli.search.processes import slots, visible_gpus
from bert_lightning.cli.search.space import Values, overrides
from bert_lightning.errors import UserError, writing
from bert_lightning.reports.comparison.found import find_runs
from bert_lightning.reports.comparison.ranking import compare
from bert_lightning.reports.comparison.table import lines
from bert_lightning.reports.page.safely import write_page_of_sweep
from bert_lightning.reports.page.write import PAGE
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import AUTO, TRIALS
from bert_lightning.terminal import WIDTH
from bert_lightning.work import say, working

_LOCK = ".search.lock"
_INDENT = 12


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
    found = read_search(config, loader, arguments, task.trials)
    environments = slots(found.settings.jobs, found.trial, _gpus(found))
    with _held(found.folder):
        journal = _journal(found)
        OmegaConf.save(config, found.folder / "multirun.yaml")
        _announce(found, journal)
        with working("search", found.n_trials, "trials", lambda: _ended(journal)):
            loop = Loop(_plan(found, journal), journal, environments)
            loop.run()
        return _end(found, journal, loop.exit_code)


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
    def add(values: Values) -> SearchTrial:
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
    write_page_of_sweep(found.folder)
    say(f"{'report':<{_INDENT}}{shown(found.folder / PAGE)}")
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
