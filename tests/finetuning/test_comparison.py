"""Scores over resampled examples equal the scores of the task; an interval covers the truth."""

from statistics import fmean, stdev

import numpy as np
import pytest

from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.scoring.comparison import gain_interval, spread
from bert_lightning.finetuning.tasks.kinds import task_of

BIO, TAGS = ["B-x", "I-x", "O"], ["ADJ", "NOUN", "VERB"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (TaskKind.text, TAGS),
        (TaskKind.number, []),
        (TaskKind.tokens, BIO),
        (TaskKind.tokens, TAGS),
    ],
)
def test_the_score_on_all_examples_is_the_main_score(kind: TaskKind, names: list[str]) -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 6, size=20) if kind is TaskKind.tokens else np.ones(20, int)
    examples = [LabelledExample(("w",) * size, "", "here") for size in sizes]
    predicted, labels = generator.integers(3, size=(2, sizes.sum()))
    if kind is TaskKind.number:
        predicted, labels = generator.normal(size=(2, 20))
    task = task_of(kind)
    assert task.sizes(examples).tolist() == sizes.tolist()
    score = task.score_on(predicted, labels, names, sizes)
    expected = next(iter(task.scores(predicted, labels, names, sizes).values()))
    assert score(np.arange(20)) == pytest.approx(expected)
    chosen = np.array([3, 3, 7, 11, 19])  # the same as of a split that has just these
    starts = np.concatenate([[0], sizes.cumsum()])
    places = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in chosen])
    scores = task.scores(predicted[places], labels[places], names, sizes[chosen])
    assert score(chosen) == pytest.approx(next(iter(scores.values())))


def test_the_spread_of_seeds() -> None:
    found = spread([0.5, 0.25, 0.75])
    assert found.mean == pytest.approx(fmean([0.5, 0.25, 0.75]))
    assert found.deviation == pytest.approx(stdev([0.5, 0.25, 0.75]))
    assert found.worst == 0.25
    assert spread([0.5]).deviation == 0


@pytest.mark.slow
def test_an_interval_covers_the_true_gain_nineteen_times_in_twenty() -> None:
    """Many experiments whose true gain is known: 10 points, and seeds that differ by 1 point."""
    covered = 0
    for experiment in range(60):
        generator = np.random.default_rng(experiment)

        def run(truth: float, generator: np.random.Generator = generator) -> np.ndarray:
            return generator.random(400) < truth + generator.normal(scale=0.01)

        def scores(rows: list[np.ndarray]) -> list:  # type: ignore[type-arg]
            return [lambda chosen, row=row: float(row[chosen].mean()) for row in rows]

        ours, theirs = ([run(truth) for _ in range(5)] for truth in (0.7, 0.6))
        low, high = gain_interval(scores(ours), scores(theirs), 400)
        assert low < high
        covered += low < 0.1 < high
    assert covered >= 51, covered
