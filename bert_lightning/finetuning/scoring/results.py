"""The results of a study, from the records of its runs alone: plain values for `results.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from bert_lightning.config.task import TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.scoring.comparison import gain_interval, spread
from bert_lightning.finetuning.scoring.metrics import Scores, is_degenerate
from bert_lightning.finetuning.scoring.records import Record
from bert_lightning.finetuning.study import StudyRun
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.finetuning.tasks.task import Task

THIS_MODEL, RANDOM_WEIGHTS = "this model", "random weights"
Outcome = tuple[np.ndarray, Mapping[str, float]]
"""The predictions of the test split `(labels,)`, and their scores."""


def results(records: Mapping[StudyRun, Record]) -> dict[str, Any]:
    """Compares the runs of a study, its first run first.

    Raises:
        UserError: they were not made from the same data.
    """
    (first, own), *_ = records.items()
    _require_same_data(records)
    sizes = sorted({run.examples for run in records if run.examples is not None})
    rows = _rows(records, first, None)
    found = {
        "task": own.summary["task"],
        "score": next(iter(own.scores)),
        "init_from": own.summary["init_from"],
        "random_weights": own.summary["random_weights"],
        "data": own.summary["data"],
        "data_key": own.summary["data_key"],
        "examples": own.summary["examples"],
        "config_hash": own.summary["config_hash"],
        "machine": own.summary["machine"],
        "seeds": _seeds(records, first, None),
        "rows": rows,
    }
    if sizes:
        found["learning_curve"] = [
            *({"examples": size, "rows": _rows(records, first, size)} for size in sizes),
            {"examples": own.summary["examples"]["train"], "rows": rows},
        ]
    return found


def _rows(
    records: Mapping[StudyRun, Record], first: StudyRun, examples: int | None
) -> list[dict[str, Any]]:
    """Returns a row for each model at one number of training examples, that of the study first."""
    of_seeds = _seeds(records, first, examples)
    ours = {seed: records[StudyRun(seed, first.random_weights, examples)] for seed in of_seeds}
    random = {seed: records.get(StudyRun(seed, True, examples)) for seed in of_seeds}
    twins = {seed: record for seed, record in random.items() if record is not None}
    models = {THIS_MODEL: {seed: (run.predicted, run.scores) for seed, run in ours.items()}}
    if twins and not first.random_weights:
        models[RANDOM_WEIGHTS] = {seed: (run.predicted, run.scores) for seed, run in twins.items()}
    for seed, record in (twins or ours).items():
        for name, predicted in record.baselines.items():
            models.setdefault(name, {})[seed] = predicted, _scores(predicted, record)
    (any_record, *_) = ours.values()
    rows = [_row(name, outcomes) for name, outcomes in models.items()]
    for row, outcomes in zip(rows[1:], [*models.values()][1:], strict=True):
        row["gain"] = _gain(models[THIS_MODEL], outcomes, any_record)
    return rows


def _row(name: str, outcomes: Mapping[int, Outcome]) -> dict[str, Any]:
    predictions = [predicted for predicted, _ in outcomes.values()]
    scores = [scores for _, scores in outcomes.values()]
    return {
        "model": name,
        "seeds": [*outcomes],
        "degenerate": sum(map(is_degenerate, predictions)),
        "scores": {
            score: asdict(spread([found[score] for found in scores])) for score in scores[0]
        },
    }


def _gain(
    ours: Mapping[int, Outcome], theirs: Mapping[int, Outcome], record: Record
) -> dict[str, float]:
    """Returns the mean gain in the main score and its 95 % interval, over the seeds of both."""
    score_on = partial(_task(record).score_on, labels=record.labels, names=record.names)
    score = next(iter(record.scores))
    pairs = [(ours[seed], theirs[seed]) for seed in theirs]
    sides = [[score_on(pair[side][0], sizes=record.sizes) for pair in pairs] for side in (0, 1)]
    low, high = gain_interval(sides[0], sides[1], len(record.sizes))
    return {"mean": fmean(a[1][score] - b[1][score] for a, b in pairs), "low": low, "high": high}


def _scores(predicted: np.ndarray, record: Record) -> Scores:
    return _task(record).scores(predicted, record.labels, record.names, record.sizes)


def _task(record: Record) -> Task:
    return task_of(TaskKind(record.summary["task"]))


def _seeds(
    records: Mapping[StudyRun, Record], first: StudyRun, examples: int | None
) -> Sequence[int]:
    return [
        run.seed
        for run in records
        if (run.random_weights, run.examples) == (first.random_weights, examples)
    ]


def _require_same_data(records: Mapping[StudyRun, Record]) -> None:
    (first, own), *_ = records.items()
    keys: dict[tuple[int, int | None], str] = {}
    for run, record in records.items():
        key = keys.setdefault((run.seed, run.examples), record.summary["data_key"])
        same_test = np.array_equal(record.labels, own.labels)
        if key != record.summary["data_key"] or not same_test:
            raise UserError(
                f"the labelled data has changed since the run of {first.title}: that of {run.title}"
                " read other examples; start another study, or remove its folder "
                f"{run.folder} and resume"
            )
