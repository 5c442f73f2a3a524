"""The loop of a search, with a plain function in place of each trial's process."""

import csv
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="a search needs Optuna")

from bert_lightning.cli.search import loop as search_loop
from bert_lightning.cli.search.journal import JOURNAL, Journal, SearchTrial, State
from bert_lightning.cli.search.loop import Loop, Plan
from bert_lightning.cli.search.proposals import propose
from bert_lightning.cli.search.results import PICTURE, TABLE, Results
from bert_lightning.cli.search.rungs import Halving
from bert_lightning.cli.search.settings import SearchConfig
from bert_lightning.cli.search.space import Values, read_space
from bert_lightning.errors import UserError
from bert_lightning.runs.curves import METRICS

SPACE = read_space({}, ["optim.lr=interval(0,1)", "optim.beta2=interval(0,1)"], None)  # type: ignore[arg-type]
HALVING = Halving(first=1, factor=3, lower=True, last=6)
METRIC = "val/loss"


class Trial:
    """A run of six validations, one at each look; it keeps its place in its folder."""

    def __init__(self, folder: Path, values: Values, fails: bool, metric: str) -> None:
        self.folder, self.values, self.fails, self.metric = folder, values, fails, metric
        self.stopped = 0
        folder.mkdir(exist_ok=True)

    def poll(self) -> int | None:
        if self.stopped:
            return 128 + self.stopped
        file = self.folder / METRICS
        rows = file.read_text().splitlines() if file.exists() else [f"step,{self.metric}"]
        if len(rows) == 7:
            return 0
        step = 5 * len(rows)
        if self.fails and step == 5:
            return 3
        score = float(self.values["optim.lr"]) + 1 / step
        file.write_text("\n".join([*rows, f"{step},{score}"]) + "\n")
        return None

    def stop(self, number: int) -> None:
        self.stopped = number

    def message(self) -> str:
        return "out of memory" if self.fails else ""


class Killed(BaseException):
    """SIGKILL, as far as a test of functions can have it: the journal is all that is left."""


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[int] = []
        self.told: list[str] = []

    def run(
        self,
        n_trials: int = 12,
        slots: int = 1,
        halving: Halving | None = HALVING,
        failing: tuple[int, ...] = (),
        kill_at: int | None = None,
        stop_at: int | None = None,
        metric: str = METRIC,
    ) -> Loop:
        journal = Journal(self.folder / JOURNAL, lower=True)

        def start(trial: SearchTrial, _: Mapping[str, str]) -> Trial:
            self.started.append(trial.number)
            if len(self.started) == kill_at:
                raise Killed
            if len(self.started) == stop_at:
                signal.raise_signal(signal.SIGTERM)
            fails = trial.number in failing
            return Trial(self.folder / trial.folder, trial.values, fails, metric)

        def score(folder: Path) -> float:
            return float((folder / METRICS).read_text().split(",")[-1])

        plan = Plan(
            self.folder,
            n_trials,
            METRIC,
            halving,
            lambda trials: propose(SearchConfig(), SPACE, True, trials),
            lambda values: journal.add(values, SPACE.distributions, f"t{len(journal.trials())}"),
            start,
            score,
            lambda *_: None,
            lambda trial, text: self.told.append(f"{trial and trial.number} {text}"),
        )
        loop = Loop(plan, journal, [{}] * slots)
        loop.run()
        return loop

    def trials(self) -> list[SearchTrial]:
        return Journal(self.folder / JOURNAL, lower=True).trials()

    def states(self) -> dict[State, int]:
        states = [trial.state for trial in self.trials()]
        return {state: states.count(state) for state in State if state in states}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    monkeypatch.setattr(search_loop, "_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(search_loop, "end_orphan", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the journal's, hundreds of times
    return Fixture(tmp_path)


def test_most_are_paused_some_promoted_and_the_best_is_complete(search: Fixture) -> None:
    search.run(failing=(2, 5))
    assert search.states() == {State.pruned: 9, State.failed: 2, State.complete: 1}
    trials = search.trials()
    (complete,) = [trial for trial in trials if trial.state is State.complete]
    assert complete.values["optim.lr"] == min(
        trial.values["optim.lr"] for trial in trials if trial.state is not State.failed
    )
    assert [len(trial.validations) for trial in trials].count(1) == 7
    assert [len(trial.validations) for trial in trials].count(3) == 2  # of ten, three pass a rung
    assert [trial.message for trial in trials if trial.exit_code] == ["out of memory"] * 2
    study = optuna.load_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(search.folder / JOURNAL))
        ),
    )
    names = [trial.state.name for trial in study.trials]
    assert {name: names.count(name) for name in names} == {
        "PRUNED": 9, "FAIL": 2, "COMPLETE": 1,
    }  # fmt: skip


def test_without_a_pruner_all_are_complete(search: Fixture) -> None:
    search.run(n_trials=4, halving=None, slots=2)
    assert search.states() == {State.complete: 4}
    assert search.started == [0, 1, 2, 3]


@pytest.mark.parametrize("kill_at", [2, 7, 11])
def test_a_killed_search_continues_as_if_it_never_was(search: Fixture, kill_at: int) -> None:
    with pytest.raises(Killed):
        search.run(kill_at=kill_at)
    with (search.folder / JOURNAL).open("a") as journal:
        journal.write('{"op_code":8,"work')  # killed while it wrote
    search.run()
    search.run()  # nothing is left to do
    assert len(search.trials()) == 12
    again = Fixture(search.folder / "again")
    again.folder.mkdir()
    again.run()
    assert [(one.values, one.validations, one.state) for one in search.trials()] == [
        (one.values, one.validations, one.state) for one in again.trials()
    ]


def test_a_stop_signal_begins_no_other_trial_and_the_search_continues(search: Fixture) -> None:
    loop = search.run(stop_at=4, slots=2)
    assert loop.exit_code == 128 + signal.SIGTERM
    assert len(search.started) == 4
    assert State.pruned not in search.states()  # they may still be promoted
    assert search.run(slots=2).exit_code == 0
    assert len(search.trials()) == 12
    assert State.running not in search.states()


def test_an_unknown_metric_ends_the_search_at_the_first_validation(search: Fixture) -> None:
    with pytest.raises(UserError, match="val/loss is not logged by the trials; they have val/los"):
        search.run(metric="val/los")
    assert search.started == [0]


def test_failures_before_the_first_step_end_a_search(search: Fixture) -> None:
    loop = search.run(failing=tuple(range(12)))
    assert (loop.exit_code, search.started) == (3, [0, 1, 2])
    assert "3 trials failed before their first step" in search.told[-1]


def test_results_name_all_kinds_of_trials_apart(search: Fixture) -> None:
    search.run(failing=(2, 5))
    results = Results(search.folder, METRIC, True, HALVING, SPACE, search.trials())
    results.write()
    with (search.folder / TABLE).open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["state"] for row in rows].count("pruned") == 9
    assert [(row["exit_code"], row["message"]) for row in rows if row["state"] == "failed"] == [
        ("3", "out of memory")
    ] * 2
    assert (search.folder / PICTURE).read_bytes().startswith(b"\x89PNG")
    told = "\n".join(results.told())
    assert "12 trials: 9 pruned, 2 failed, 1 complete" in told
    assert "WARNING: the importance of 10 trials is little more than chance" in told
    assert told.index("optim.lr\n") < told.index("optim.beta2\nW")  # only the first one matters
