"""Complete runs in order of a metric, those that differ in their seed alone as one row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from bert_lightning.reports.comparison.found import FoundRun
from bert_lightning.reports.comparison.metric import (
    OPTION,
    default_metric,
    lower_is_better,
    require_logged,
    value_of,
)
from bert_lightning.reports.comparison.options import KINDS, compared_options

_SEED = "seed"
_WEIGHTS = ("objective.mlm_weight", "objective.nsp_weight")


@dataclass(frozen=True)
class Row:
    """The runs of some options, with every seed that there is."""

    values: Mapping[str, Any]
    """Those of the options that differ in this table."""
    runs: Sequence[FoundRun]
    """The best first."""
    scores: Sequence[float]
    """The metric of each run."""

    @property
    def mean(self) -> float:
        return fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None of a single run."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    def mean_of(self, metric: str) -> float:
        """Returns the mean of another metric; NaN where a run lacks it."""
        return fmean(value_of(metric, run.summary, run.curves) for run in self.runs)


@dataclass(frozen=True)
class Ranking:
    """Runs that are scored on the same evaluation set."""

    metric: str
    options: Sequence[str]
    """Those that differ, apart from the seed; what the sweep varied first."""
    rows: Sequence[Row]
    """The best first."""
    evaluation_set: str
    """What tells this evaluation set from others."""
    remarks: Sequence[str]
    """What makes the comparison unfair, in sentences."""

    @property
    def best(self) -> FoundRun:
        return self.rows[0].runs[0]


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison."""

    rankings: Sequence[Ranking]
    """One for each evaluation set, that of the most runs first."""
    others: Sequence[tuple[FoundRun, str]]
    """Runs that cannot be ranked, and why."""


def compare(runs: Sequence[FoundRun], metric: str | None = None) -> Comparison:
    """Ranks runs by a metric; by default the one that they name, or the main one of their kind.

    Raises:
        UserError: no complete run has logged that metric.
    """
    others = [(run, run.problem) for run in runs if run.problem]
    groups: dict[tuple[str, ...], list[FoundRun]] = {}
    for run in runs:
        if not run.problem:
            groups.setdefault(_evaluation_set(run), []).append(run)
    rankings = []
    for (evaluation_set, *_), members in groups.items():
        chosen = metric or next(
            filter(None, map(_named, members)), default_metric(members[0].summary)
        )
        scored = [(run, value_of(chosen, run.summary, run.curves)) for run in members]
        finite = [(run, value) for run, value in scored if math.isfinite(value)]
        if not finite and chosen != default_metric(members[0].summary):
            require_logged(chosen, members[0].summary, members[0].curves)
        others += [
            (run, f"has no {chosen}" if math.isnan(value) else f"{chosen} is {value}")
            for run, value in scored
            if not math.isfinite(value)
        ]
        if finite:
            rankings.append(_ranking(finite, chosen, evaluation_set))
    rankings.sort(key=lambda one: -sum(len(row.runs) for row in one.rows))
    return Comparison(rankings, others)


def _named(run: FoundRun) -> str | None:
    name = run.options.get(OPTION)
    return name if isinstance(name, str) else None


def _evaluation_set(run: FoundRun) -> tuple[str, ...]:
    """Returns what runs have in common whose scores compare; the first part says it in words."""
    summary = run.summary
    of_task = f", task {summary['task']}" if "task" in summary else ""
    origin = summary.get("corpus") or summary.get("data", "")
    if sha256 := summary.get("evaluation_set_sha256"):
        return f"evaluation set {sha256[:8]}{of_task}", run.command, str(sha256)
    key = summary.get("corpus_key") or summary.get("data_key")
    words = ", ".join(filter(None, [str(origin), "without a whole evaluation set"]))
    return f"{words}{of_task}", run.command, str(key)


def _ranking(scored: Sequence[tuple[FoundRun, float]], metric: str, evaluation_set: str) -> Ranking:
    runs = [run for run, _ in scored]
    names = _differing(runs)
    sign = 1 if lower_is_better(metric) else -1
    rows: dict[str, list[tuple[FoundRun, float]]] = {}
    for run, value in sorted(scored, key=lambda one: sign * one[1]):
        rows.setdefault(repr([_value(run, name) for name in names]), []).append((run, value))
    found = [
        Row(
            {name: _value(of_row[0][0], name) for name in names},
            [run for run, _ in of_row],
            [value for _, value in of_row],
        )
        for of_row in rows.values()
    ]
    found.sort(key=lambda row: sign * row.mean)
    return Ranking(metric, names, found, evaluation_set, _unfair(runs, metric, names))


def _differing(runs: Sequence[FoundRun]) -> list[str]:
    """Returns the names of the options that differ between runs or that their sweep varied.

    The seed is none of them. What a group such as `model=tiny,mini` sets is left out, unless a
    sweep varies it as well.
    """
    varied = list(dict.fromkeys(name for run in runs for name in run.trial))
    names = dict.fromkeys([*varied, *compared_options(KINDS[runs[0].command])])
    differing = [
        name
        for name in names
        if name != _SEED and (name in varied or len({repr(_value(run, name)) for run in runs}) > 1)
    ]
    groups = [name for name in differing if name in varied and name not in runs[0].options]
    if not groups:
        return differing
    return [name for name in differing if name in varied or not _follows(name, groups, runs)]


def _follows(name: str, groups: Sequence[str], runs: Sequence[FoundRun]) -> bool:
    """Returns whether the value of an option is one of the same groups everywhere."""
    values: dict[tuple[str | None, ...], set[str]] = {}
    for run in runs:
        chosen = tuple(run.trial.get(group) for group in groups)
        values.setdefault(chosen, set()).add(repr(_value(run, name)))
    return all(len(found) == 1 for found in values.values())


def _value(run: FoundRun, name: str) -> Any:
    return run.options[name] if name in run.options else run.trial.get(name)


def _unfair(runs: Sequence[FoundRun], metric: str, names: Sequence[str]) -> list[str]:
    found = []
    asked = {name for run in runs if (name := _named(run)) is not None}
    if len(asked) > 1:
        found.append(f"the runs name several metrics ({', '.join(sorted(asked))}); see --metric")
    if metric.endswith("/loss") and (weights := [name for name in names if name in _WEIGHTS]):
        found.append(
            f"{metric} is weighted by {' and '.join(weights)}, which differ: rank by another "
            f"metric, such as {metric.partition('/')[0]}/mlm_loss"
        )
    key = "data_key" if runs[0].command == "finetune" else "corpus_key"
    if runs[0].command == "train" and len({run.summary.get(key) for run in runs}) > 1:
        corpora = sorted({str(run.summary.get("corpus")) for run in runs})
        found.append(f"they were trained on different corpora ({', '.join(corpora)})")
    steps = {run.summary.get("steps") for run in runs}
    if len(steps) > 1 and not any(name.startswith(("trainer.max", "optim.time")) for name in names):
        found.append(f"they have different numbers of steps ({_listed(steps)})")
    return found


def _listed(steps: set[Any]) -> str:
    counts = sorted(steps, key=str)
    return ", ".join(map(str, counts[:4])) + (" …" if len(counts) > 4 else "")
