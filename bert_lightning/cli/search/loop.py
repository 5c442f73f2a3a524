"""The loop of a search: it starts trials, reads their validations, pauses and promotes them."""

import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_lightning.cli.many_runs.waiting import handling
from bert_lightning.cli.search.journal import Journal, SearchTrial, State
from bert_lightning.cli.search.processes import Process, end_orphan
from bert_lightning.cli.search.rungs import Halving
from bert_lightning.cli.search.space import Values
from bert_lightning.errors import UserError
from bert_lightning.runs.curves import METRICS, Curves, read_curves
from bert_lightning.runs.launched import SIGNALS

_SECONDS_BETWEEN_LOOKS = 0.05
_HOPELESS = 3
"""Trials that fail before their first step, and none has begun to train: it is not their values."""
_PAUSED_BY = 128 + signal.SIGTERM
_ENDED_AT_ONCE = 1
"""The exit code on Windows, which has no signal that a process may handle."""


@dataclass(frozen=True)
class Plan:
    """What a search does, apart from what its journal remembers."""

    folder: Path
    n_trials: int
    metric: str
    halving: Halving | None
    """None where no trial is paused."""
    propose: Callable[[Sequence[SearchTrial]], Values | None]
    add: Callable[[Values], SearchTrial]
    """Adds a trial with these values to the journal."""
    start: Callable[[SearchTrial, Mapping[str, str]], Process]
    """Starts a trial, or resumes it, in the environment of a slot."""
    score: Callable[[Path], float]
    """Returns the metric of a complete trial; a UserError if it has logged no such metric."""
    note: Callable[[SearchTrial, int | None], None]
    """Told that a trial begins, without an exit code, and that it ended or was paused, with it."""
    tell: Callable[[SearchTrial | None, str], None]
    """Tells what happens to a trial, or to the search."""


@dataclass
class _AtWork:
    number: int
    slot: int
    process: Process
    seen: Any = None
    """When its curves were last written, and how long they were."""
    pausing: bool = False


@dataclass
class Loop:
    """A search at work."""

    plan: Plan
    journal: Journal
    slots: Sequence[Mapping[str, str]]
    exit_code: int = 0
    """Not 0 once a signal or a mistake ends the search."""
    _at_work: list[_AtWork] = field(default_factory=list)
    _is_exhausted: bool = False

    def run(self) -> None:
        """Runs trials until there are `n_trials`, and successive halving promotes no more.

        Raises:
            UserError: the metric is none that the trials log, or none of the first trials began to
                train; all trials at work are stopped before.
        """
        with handling(self._on_signal):
            try:
                while self._fill() or self._at_work:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
                    for work in [*self._at_work]:
                        self._look(work)
            except BaseException:
                self._stop_all(signal.SIGTERM)
                self._wait()
                raise
        if not self.exit_code:
            self.journal.prune_paused()

    # What is done next.

    def _fill(self) -> bool:
        """Starts as many trials as there is room for; returns whether it started any."""
        before = len(self._at_work)
        while not self.exit_code and len(self._at_work) < len(self.slots):
            trial = self._next()
            if trial is None:
                break
            self._begin(trial)
        return len(self._at_work) > before

    def _next(self) -> SearchTrial | None:
        """Returns the trial to start next: one that was interrupted, promoted, or a new one."""
        plan, trials = self.plan, self.journal.trials()
        numbers = {work.number for work in self._at_work}
        for trial in trials:
            if trial.state is State.running and trial.number not in numbers:
                end_orphan(plan.folder / trial.folder)
                if not self._is_held(trial.number):
                    return self.journal.trial(trial.number)
                self._pause(trial.number, _PAUSED_BY)
        trials = self.journal.trials()
        contenders = [trial.contender for trial in trials]
        promoted = plan.halving.promoted(contenders) if plan.halving else None
        if promoted is None and len(trials) < plan.n_trials:
            if (values := plan.propose(trials)) is not None:
                return plan.add(values)
            if not self._is_exhausted:
                self._is_exhausted = True
                plan.tell(None, f"no untried values were found after {len(trials)} trials")
        if promoted is None and plan.halving is not None and not numbers:
            complete = any(trial.state is State.complete for trial in trials)
            promoted = None if complete else plan.halving.furthest(contenders)
        if promoted is None:
            return None
        self.journal.promote(promoted)
        return self.journal.trial(promoted)

    def _begin(self, trial: SearchTrial) -> None:
        taken = {work.slot for work in self._at_work}
        slot = next(place for place in range(len(self.slots)) if place not in taken)
        folder = self.plan.folder / trial.folder
        has_begun = (folder / METRICS).is_file()
        step = trial.validations[-1][0] if trial.validations else 0
        after = f" after step {step}" if step else ""
        self.plan.tell(trial, f"{'resumes' if has_begun else 'begins'}{after}")
        self.plan.note(trial, None)
        process = self.plan.start(trial, self.slots[slot])
        self._at_work.append(_AtWork(trial.number, slot, process))

    # What the trials do.

    def _look(self, work: _AtWork) -> None:
        code = work.process.poll()  # before its curves, which are complete then
        trial = self.journal.trial(work.number)
        folder = self.plan.folder / trial.folder
        self._read_validations(work, folder, has_ended=code == 0)
        if code is None:
            return
        self._at_work.remove(work)
        stops = [128 + number for number in SIGNALS]
        paused = (_PAUSED_BY, *([_ENDED_AT_ONCE] if os.name == "nt" else []))
        if code == 0:
            self._complete(work, folder)
        elif work.pausing and code in paused:
            self._pause(work.number, code)
            return
        elif code in stops:
            self._stop(code, f"stopped, exit code {code}", work.number)
        else:
            self._fail(work, code)
        self.plan.note(self.journal.trial(work.number), code)

    def _read_validations(self, work: _AtWork, folder: Path, has_ended: bool) -> None:
        """Reports the validations that are new; at its rung a trial is promoted or paused."""
        try:
            stat = (folder / METRICS).stat()
        except OSError:
            return
        if (stat.st_mtime_ns, stat.st_size) == work.seen or (work.pausing and not has_ended):
            return
        work.seen = stat.st_mtime_ns, stat.st_size
        curves = read_curves(folder)
        _require_curve(self.plan.metric, curves)
        trial = self.journal.trial(work.number)
        reported = {step for step, _ in trial.validations}
        for step, value in curves.get(self.plan.metric, []):
            if step in reported:
                continue
            self.journal.report(work.number, step, value)
            if self._is_held(work.number) and not has_ended:
                work.pausing = True
                work.process.stop(signal.SIGTERM)
                return

    def _is_held(self, number: int) -> bool:
        """Returns whether a trial has come to its rung and does not pass it; else promotes it."""
        halving, trials = self.plan.halving, self.journal.trials()
        contender = trials[number].contender
        if halving is None or not halving.is_reached(contender):
            return False
        if not halving.passes(contender, [trial.contender for trial in trials]):
            return True
        self.journal.promote(number)
        self._tell_validation(number, "promoted")
        return False

    def _pause(self, number: int, code: int) -> None:
        self.journal.pause(number)
        self._tell_validation(number, "paused")
        self.plan.note(self.journal.trial(number), code)

    def _complete(self, work: _AtWork, folder: Path) -> None:
        score = self.plan.score(folder)
        if math.isnan(score):
            self.journal.fail(work.number, 0, f"{self.plan.metric} is NaN")
        else:
            self.journal.complete(work.number, score)
        trial = self.journal.trial(work.number)
        self.plan.tell(trial, trial.message or f"complete: {self.plan.metric} {score:.4f}")

    def _fail(self, work: _AtWork, code: int) -> None:
        message = work.process.message()
        self.journal.fail(work.number, code, message)
        trials = self.journal.trials()
        self.plan.tell(trials[work.number], f"failed, exit code {code}: {message}")
        began = any((self.plan.folder / trial.folder / METRICS).exists() for trial in trials)
        failures = [trial for trial in trials if trial.state is State.failed]
        if not began and len(failures) == min(_HOPELESS, self.plan.n_trials):
            self._stop(code, f"{len(failures)} trials failed before their first step", None)

    def _tell_validation(self, number: int, what: str) -> None:
        trial = self.journal.trial(number)
        step, value = trial.validations[-1]
        self.plan.tell(trial, f"{what} at step {step}: {self.plan.metric} {value:.4f}")

    # The end.

    def _on_signal(self, number: int, _: Any) -> None:
        if self.exit_code:  # the second one
            raise SystemExit(128 + number)
        self.exit_code = 128 + number
        if number != signal.SIGINT:  # the terminal sends that one to the trials itself
            self._stop_all(number)

    def _stop(self, code: int, why: str, number: int | None) -> None:
        """Begins no further trial, and stops those at work."""
        trial = None if number is None else self.journal.trial(number)
        self.plan.tell(trial, why)
        if not self.exit_code:
            self.exit_code = code
            self._stop_all(signal.SIGTERM)

    def _stop_all(self, number: int) -> None:
        for work in self._at_work:
            work.process.stop(number)

    def _wait(self) -> None:
        while any(work.process.poll() is None for work in self._at_work):
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _require_curve(metric: str, curves: Curves) -> None:
    """Raises a UserError if a run has validated, and its metric is none of the scores."""
    known = sorted(name for name in curves if name.startswith("val/"))
    if known and metric.startswith("val/") and metric not in known:
        raise UserError(
            f"optimized_metric={metric} is not logged by the trials; they have {', '.join(known)}"
        )
