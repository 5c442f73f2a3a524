"""The scores of predictions on labelled data. Plain numpy; each says what its formula is."""

from collections.abc import Sequence

import numpy as np

from bert_lightning.finetuning.scoring.entities import entities

Scores = dict[str, float]
"""Scores by name, the main one of the task first."""


def is_degenerate(predicted: np.ndarray) -> bool:
    """Returns whether every prediction is the same: the run has learned nothing but a constant."""
    return bool((predicted == predicted[0]).all())


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities of logits `(labels, classes)`."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of equal entries of `(examples,)` and `(examples,)`."""
    return float((predicted == labels).mean())


def f1_by_class(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """F1 of each class, `(classes,)`: 2 · hits / (predicted + labelled); 0 where it has no hit."""
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    either = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    return np.divide(2 * hits, either, out=np.zeros(classes), where=either > 0)


def macro_f1(predicted: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """The mean F1 of the classes that are predicted or labelled at all."""
    present = np.union1d(predicted, labels)
    return float(f1_by_class(predicted, labels, classes)[present].mean())


def matthews(predicted: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """The correlation of two labelings (Gorodkin, 2004); 0 where either of them is constant."""
    table = confusion(predicted, labels, classes).astype(np.float64)
    labelled, guessed, total = table.sum(1), table.sum(0), table.sum()
    covariance = np.trace(table) * total - labelled @ guessed
    variances = (total**2 - guessed @ guessed) * (total**2 - labelled @ labelled)
    return float(covariance / np.sqrt(variances)) if variances > 0 else 0.0


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each label `(row)` is predicted as each class `(column)`, `(classes, classes)`."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def pearson(predicted: np.ndarray, values: np.ndarray) -> float:
    """The linear correlation; 0 where either of them is constant."""
    a, b = predicted - predicted.mean(), values - values.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else 0.0


def spearman(predicted: np.ndarray, values: np.ndarray) -> float:
    """The correlation of the ranks, where equals share the mean of their ranks."""
    return pearson(ranks(predicted), ranks(values))


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value from 0; equals share their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts + 1) / 2)[place]


def entity_scores(predicted: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> Scores:
    """F1, precision and recall of whole entities: kind, start and end must all be right."""
    hits = guessed = wanted = 0
    for ours, theirs in zip(predicted, labels, strict=True):
        found, right = set(entities(ours)), set(entities(theirs))
        hits, guessed, wanted = hits + len(found & right), guessed + len(found), wanted + len(right)
    precision, recall = hits / max(1, guessed), hits / max(1, wanted)
    return {
        "entity_f1": 2 * hits / max(1, guessed + wanted),
        "entity_precision": precision,
        "entity_recall": recall,
    }


def class_scores(predicted: np.ndarray, labels: np.ndarray, classes: int) -> Scores:
    """Accuracy, macro-F1 and Matthews' correlation; of two classes the F1 of the second as well."""
    scores = {
        "accuracy": accuracy(predicted, labels),
        "macro_f1": macro_f1(predicted, labels, classes),
        "matthews": matthews(predicted, labels, classes),
    }
    if classes == 2:
        scores["f1"] = float(f1_by_class(predicted, labels, classes)[1])
    return scores


def number_scores(predicted: np.ndarray, values: np.ndarray) -> Scores:
    """Spearman's and Pearson's correlation, and the root of the mean squared error."""
    return {
        "spearman": spearman(predicted, values),
        "pearson": pearson(predicted, values),
        "rmse": float(np.sqrt(np.square(predicted - values).mean())),
    }
