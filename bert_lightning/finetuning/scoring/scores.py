"""From a model's outputs to predictions, and from predictions to the scores of a task."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.scoring.entities import is_bio
from bert_lightning.finetuning.scoring.metrics import (
    Scores,
    accuracy,
    class_scores,
    entity_scores,
    macro_f1,
    number_scores,
)


def predict(outputs: np.ndarray, kind: TaskKind) -> np.ndarray:
    """Returns the likeliest class, or the number, of outputs `(labels, outputs)`: `(labels,)`."""
    return outputs[:, 0] if kind is TaskKind.number else outputs.argmax(1)


def task_scores(
    predicted: np.ndarray,
    labels: np.ndarray,
    kind: TaskKind,
    names: Sequence[str],
    examples: Sequence[LabelledExample],
) -> Scores:
    """Scores the predictions `(labels,)` of a split, the main score of the task first."""
    return scores_of(predicted, labels, kind, names, labels_of_each(examples, kind))


def labels_of_each(examples: Sequence[LabelledExample], kind: TaskKind) -> np.ndarray:
    """Returns how many labels each example has, `(examples,)`: one, or one for each word."""
    return np.array([len(one.texts) if kind is TaskKind.tokens else 1 for one in examples])


def scores_of(
    predicted: np.ndarray,
    labels: np.ndarray,
    kind: TaskKind,
    names: Sequence[str],
    sizes: np.ndarray,
) -> Scores:
    """The same of a split whose examples have these numbers of labels, `(examples,)`.

    `text` and `pair`: accuracy. `number`: Spearman's correlation. `tokens`: F1 of entities where
    the names mark them, else accuracy; each word counts once.
    """
    if kind is TaskKind.number:
        return number_scores(predicted, labels)
    if kind is not TaskKind.tokens:
        return class_scores(predicted, labels, len(names))
    by_word = {
        "accuracy": accuracy(predicted, labels),
        "macro_f1": macro_f1(predicted, labels, len(names)),
    }
    if not is_bio(names):
        return by_word
    ends = [0, *accumulate(sizes.tolist())]
    ours, theirs = (
        [[names[number] for number in numbers[start:end]] for start, end in pairwise(ends)]
        for numbers in (predicted, labels)
    )
    return {**entity_scores(ours, theirs), **by_word}


def is_degenerate(predicted: np.ndarray) -> bool:
    """Returns whether every prediction is the same: the run has learned nothing but a constant."""
    return bool(np.ptp(predicted) == 0)
