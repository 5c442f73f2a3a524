"""What a search leaves: `trials.csv`, the table, the importance of its parameters, a picture."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from bert_lightning.cli.search.journal import SearchTrial, State
from bert_lightning.cli.search.rungs import Halving
from bert_lightning.cli.search.space import Space
from bert_lightning.files import write_text
from bert_lightning.pictures.parallel import Axis, Line, parallel_figure
from bert_lightning.reports.comparison.metric import lower_is_better
from bert_lightning.terminal import figures, printed

TABLE, PICTURE = "trials.csv", "parallel.png"
"""In the folder of a search."""
_FEW_TRIALS = 30
"""Below them, the importance of a parameter says little."""
_MOST_ROWS = 20


@dataclass(frozen=True)
class Results:
    """Everything that a search tells of its trials."""

    folder: Path
    metric: str
    lower: bool
    halving: Halving | None
    space: Space
    trials: Sequence[SearchTrial]

    def write(self) -> None:
        """Writes the table and the picture."""
        write_text(self.folder / TABLE, self._csv())
        if any(math.isfinite(trial.score) for trial in self.trials):
            lower = lower_is_better(self.metric)
            figure = parallel_figure(self._axes(), self._lines(), self.metric, lower)
            figure.save(self.folder / PICTURE)

    def told(self) -> Iterator[str]:
        """Yields the lines of the trials that are not complete, and of the importance."""
        counts = [
            f"{count} {state.value}"
            for state in State
            if (count := sum(trial.state is state for trial in self.trials))
        ]
        yield ""
        yield f"{len(self.trials)} trials: {', '.join(counts)}"
        waiting = self._in(State.paused, State.pruned)
        if waiting:
            yield from self._table(waiting)
        yield from self._importance()
        for label, name in (("trials", TABLE), ("picture", PICTURE)):
            if (self.folder / name).is_file():
                yield f"{label:<12}{self.folder / name}"

    def _in(self, *states: State) -> list[SearchTrial]:
        return [trial for trial in self.trials if trial.state in states]

    def _csv(self) -> str:
        text = io.StringIO()
        names = [*self.space.distributions]
        header = ["trial", "state", self.metric, "validations", "step", "promotions"]
        table = csv.writer(text, lineterminator="\n")
        table.writerow([*header, *names, "exit_code", "message", "folder"])
        for trial in self.trials:
            step = trial.validations[-1][0] if trial.validations else ""
            score = "" if math.isnan(trial.score) else repr(trial.score)
            row = [trial.number, trial.state.value, score, len(trial.validations), step, trial.rung]
            values = [trial.values[name] for name in names]
            code = "" if trial.exit_code is None else trial.exit_code
            table.writerow([*row, *values, code, trial.message, trial.folder])
        return text.getvalue()

    def _table(self, waiting: Sequence[SearchTrial]) -> Iterator[str]:
        sign = 1 if self.lower else -1
        order = sorted(
            waiting, key=lambda trial: (-len(trial.validations), sign * trial.score, trial.number)
        )
        header = ["trial", *self.space.distributions, "step", self.metric]
        rows = [
            [
                str(trial.number),
                *(_shown(value) for value in trial.values.values()),
                str(trial.validations[-1][0]),
                f"{trial.score:.4f}",
            ]
            for trial in order
        ]
        yield ""
        yield "paused by successive halving, the furthest first:"
        yield printed(figures(header, rows[:_MOST_ROWS]))
        if len(rows) > _MOST_ROWS:
            yield f"left out    {len(rows) - _MOST_ROWS} rows, which are in {TABLE}"

    def _importance(self) -> Iterator[str]:
        """Tells how much each parameter matters for being among the best tenth (PED-ANOVA).

        Watanabe et al., 2023, arXiv:2304.10255. Where trials are paused, they are compared at the
        first rung, which most of them have come to.
        """
        scored = self._scored()
        if len(self.space.distributions) < 2 or len(scored) < 2:
            return
        study = optuna.create_study(direction="minimize" if self.lower else "maximize")
        study.add_trials(
            [
                create_trial(
                    params=dict(trial.values),
                    distributions=dict(self.space.distributions),
                    value=value,
                )
                for trial, value in scored
            ]
        )
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        where = "" if self.halving is None else f" at validation {self.halving.at(0)}"
        yield ""
        yield f"importance  for {self.metric}{where}, of {len(scored)} trials (PED-ANOVA):"
        for name, value in found.items():
            yield f"{'':<12}{value:.2f}  {name}"
        if len(scored) < _FEW_TRIALS:
            yield (
                f"WARNING: the importance of {len(scored)} trials is little more than chance; "
                f"{_FEW_TRIALS} say more"
            )

    def _scored(self) -> list[tuple[SearchTrial, float]]:
        """Returns the trials that compare, with the metric that they are compared by."""
        if self.halving is None:
            scored = [(trial, trial.score) for trial in self._in(State.complete)]
        else:
            at = self.halving.at(0)
            came = [trial for trial in self.trials if len(trial.validations) >= at]
            scored = [(trial, trial.validations[at - 1][1]) for trial in came]
        return [(trial, value) for trial, value in scored if math.isfinite(value)]

    def _axes(self) -> list[Axis]:
        axes = []
        for name, distribution in self.space.distributions.items():
            choices = getattr(distribution, "choices", None)
            log = getattr(distribution, "log", False)
            axes.append(Axis(name, log=bool(log), choices=choices))
        return axes

    def _lines(self) -> list[Line]:
        return [
            Line([*trial.values.values()], trial.score, trial.state is State.complete)
            for trial in self.trials
            if math.isfinite(trial.score) and trial.state is not State.failed
        ]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
