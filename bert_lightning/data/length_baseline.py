"""Whether the pair labels leak: how well they are told by lengths alone, without reading a word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bert_lightning.batch import IS_RANDOM, PretrainBatch

LEAK = 0.05
"""How far the accuracy from lengths may lie above the majority; beyond it the labels leak.

Neighbouring sentences are a little alike in length: WikiText-2's honest pairs come to 0.03.
"""

_RIDGE = 1e-4
_NEWTON_STEPS = 200


@dataclass(frozen=True)
class LabelStatistics:
    """What can be said of held-out pair labels without reading a word."""

    pairs_read: int
    majority: float
    """Accuracy of the more frequent label."""
    length_only_accuracy: float
    """Accuracy of a logistic regression on the two lengths, fitted to training pairs."""

    @property
    def leak(self) -> bool:
        """Whether the lengths tell more than chance (three standard errors) and `LEAK` allow."""
        error = np.sqrt(self.majority * (1 - self.majority) / self.pairs_read)
        return bool(self.length_only_accuracy - self.majority > max(LEAK, 3 * error))


def describe_labels(
    training: Sequence[PretrainBatch], held_out: Sequence[PretrainBatch]
) -> LabelStatistics | None:
    """What the lengths of the two halves tell of the labels; None where there are no labels.

    Where the first half stands in its document is no feature: a model does not see it, and the
    label is drawn without regard to it.
    """
    features, labels = length_features(training)
    held_features, held_labels = length_features(held_out)
    if not len(labels) or not len(held_labels):
        return None
    share = float(held_labels.mean())
    return LabelStatistics(
        pairs_read=len(held_labels),
        majority=max(share, 1 - share),
        length_only_accuracy=logistic_accuracy(features, labels, held_features, held_labels),
    )


def length_features(batches: Sequence[PretrainBatch]) -> tuple[np.ndarray, np.ndarray]:
    """Features `(pairs, features)` of both halves' lengths, and labels `(pairs,)`: 1 is random."""
    halves = []
    for batch in batches:
        sums = np.concatenate([[0], np.cumsum(batch.sequences.token_type_ids.numpy())])
        bounds = batch.sequences.cu_seqlens.numpy()
        second = np.diff(sums[bounds]) - 1
        halves.append(np.stack([batch.sequences.lengths - 3 - second, second], axis=1))
    a, b = np.concatenate(halves).T.astype(np.float64)
    labels = np.concatenate([batch.nsp_labels.numpy() for batch in batches])
    if not len(labels) or labels.min() < 0:  # pairs without a label
        return np.empty((0, 0)), np.empty(0)
    log_a, log_b = np.log(np.maximum(a, 1)), np.log(np.maximum(b, 1))
    difference, total = log_a - log_b, a + b
    full = total == total.max()
    features = [log_a, log_b, log_a * log_b, np.abs(difference), difference**2, a, b, total, full]
    return np.stack(features, axis=1), labels == IS_RANDOM


def logistic_accuracy(
    features: np.ndarray, labels: np.ndarray, held_features: np.ndarray, held_labels: np.ndarray
) -> float:
    """Accuracy on held-out labels of a logistic regression with a little ridge.

    Newton's steps with a fixed bound of the curvature, which never overshoot (Böhning and Lindsay,
    1988).
    """
    mean, spread = features.mean(0), features.std(0) + 1e-9

    def design(rows: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(rows)), (rows - mean) / spread])

    x = design(features)
    curvature = x.T @ x / 4 / len(x) + _RIDGE * np.eye(x.shape[1])
    step = np.linalg.inv(curvature) @ x.T / len(x)
    weights = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        error = labels - 0.5 * (1 + np.tanh(x @ weights / 2))
        weights = weights + step @ error - _RIDGE * np.linalg.solve(curvature, weights)
    return float(((design(held_features) @ weights > 0) == held_labels).mean())
