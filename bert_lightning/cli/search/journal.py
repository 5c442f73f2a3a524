"""The journal of a search: Optuna's, in one file, from which the search continues after any end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from bert_lightning.cli.search.rungs import Contender
from bert_lightning.cli.search.space import Values

JOURNAL = "journal.log"
"""In the folder of a search; also for `optuna-dashboard`."""
_STUDY, _IDENTITY = "search", "search"
_FOLDER, _RUNG, _PAUSED = "folder", "rung", "paused"
_EXIT_CODE, _MESSAGE = "exit_code", "message"


class State(Enum):
    """How far a trial has come."""

    running = "running"
    """At work, or interrupted together with its search."""
    paused = "paused"
    """Waiting for its promotion. Optuna has no such state: its trial is running until the end."""
    pruned = "pruned"
    """Paused when the search ended."""
    failed = "failed"
    complete = "complete"


_ENDS = {
    TrialState.COMPLETE: State.complete,
    TrialState.PRUNED: State.pruned,
    TrialState.FAIL: State.failed,
}


@dataclass(frozen=True)
class SearchTrial:
    """A trial as the journal tells of it."""

    number: int
    folder: str
    """The name of its folder, in that of the search."""
    values: Values
    state: State
    validations: Sequence[tuple[int, float]]
    """(optimizer step, metric), up to the rung that it may reach."""
    rung: int
    """How often it was promoted."""
    score: float
    """The metric of a complete trial; else that of its last validation, NaN where it has none."""
    exit_code: int | None
    message: str
    """Why it failed."""

    @property
    def contender(self) -> Contender:
        values = [value for _, value in self.validations]
        return Contender(self.number, values, self.rung, self.state is State.paused)


class Journal:
    """A search on disk. One process writes it, which holds the search's folder.

    Args:
        file: the journal, which may exist.
        lower: whether a lower metric is better.
    """

    def __init__(self, file: Path, lower: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _repair(file)
        # Without symbolic links, which not every system allows.
        backend = JournalFileBackend(str(file), JournalFileOpenLock(str(file)))
        self._storage = JournalStorage(backend)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_STUDY,
            direction="minimize" if lower else "maximize",
            load_if_exists=True,
        )

    @property
    def identity(self) -> Mapping[str, Any] | None:
        """What makes the search this one; None of a new journal."""
        found: Mapping[str, Any] | None = self._study.user_attrs.get(_IDENTITY)
        return found

    def identify(self, identity: Mapping[str, Any]) -> None:
        self._study.set_user_attr(_IDENTITY, dict(identity))

    def trials(self) -> list[SearchTrial]:
        return [_read(trial) for trial in self._study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> SearchTrial:
        return self.trials()[number]

    def add(
        self, values: Values, distributions: Mapping[str, BaseDistribution], folder: str
    ) -> SearchTrial:
        """Adds a trial that is about to begin."""
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(values),
                distributions=dict(distributions),
                user_attrs={_FOLDER: folder, _RUNG: 0},
            )
        )
        return self.trials()[-1]

    def report(self, number: int, step: int, value: float) -> None:
        """Notes a validation."""
        self._open(number).report(value, step)

    def promote(self, number: int) -> None:
        """Lets a trial continue to its next rung."""
        trial = self._open(number)
        trial.set_user_attr(_RUNG, trial.user_attrs[_RUNG] + 1)
        trial.set_user_attr(_PAUSED, False)

    def pause(self, number: int) -> None:
        self._open(number).set_user_attr(_PAUSED, True)

    def complete(self, number: int, score: float) -> None:
        self._study.tell(number, score)

    def fail(self, number: int, exit_code: int, message: str) -> None:
        trial = self._open(number)
        trial.set_user_attr(_EXIT_CODE, exit_code)
        trial.set_user_attr(_MESSAGE, message)
        self._study.tell(number, state=TrialState.FAIL)

    def prune_paused(self) -> None:
        """Ends the trials that are paused, as the search has ended."""
        for trial in self.trials():
            if trial.state is State.paused:
                self._study.tell(trial.number, state=TrialState.PRUNED)

    def _open(self, number: int) -> Trial:
        study = self._storage.get_study_id_from_name(_STUDY)
        found = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        return Trial(self._study, found)


def _read(trial: FrozenTrial) -> SearchTrial:
    told = trial.user_attrs
    waits = State.paused if told.get(_PAUSED) else State.running
    validations = sorted(trial.intermediate_values.items())
    last = validations[-1][1] if validations else math.nan
    complete = trial.state is TrialState.COMPLETE and trial.value is not None
    return SearchTrial(
        trial.number,
        told[_FOLDER],
        trial.params,
        _ENDS.get(trial.state, waits),
        validations,
        told[_RUNG],
        trial.value if complete and trial.value is not None else last,
        told.get(_EXIT_CODE),
        told.get(_MESSAGE, ""),
    )


def _repair(file: Path) -> None:
    """Removes a last line without its end, which a killed search or a full disk leaves."""
    if file.is_file() and not (content := file.read_bytes()).endswith(b"\n"):
        file.write_bytes(content[: content.rfind(b"\n") + 1])
