"""Baselines of an evaluation set: the scores of predictors that see no context."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import IGNORE_INDEX, IS_RANDOM
from bert_lightning.data.pairs import Pairs

LEAK = 0.05
"""The margin over the majority baseline beyond which the labels leak.

Neighboring sentences are somewhat alike in length: WikiText-2's honest pairs come to 0.03.
"""
_RIDGE = 1e-4


class Baselines(NamedTuple):
    """Losses in nats and accuracies; None without labeled pairs."""

    mlm_loss: float
    """Of the unigram baseline: each masked token predicted by its frequency in training."""
    mlm_accuracy: float
    """Of predicting the most frequent token of the training split everywhere."""
    nsp_loss: float | None
    """Of predicting each pair by the frequencies of the labels."""
    nsp_accuracy: float | None
    """Of the majority baseline: the more frequent label predicted everywhere."""
    mlm_accuracy_known: float | None
    """Over the masked tokens other than `[UNK]`, of predicting the most frequent of these; None if
    all are unknown."""


def unigram_nll(token_counts: np.ndarray) -> np.ndarray:
    """Returns the unigram baseline's loss for each token, `(vocab,)` nats; adds 1 to each count."""
    return np.log(token_counts.sum() + len(token_counts)) - np.log(token_counts + 1)


@dataclass(frozen=True)
class LabelStatistics:
    """How well held-out pair labels are predicted without reading a word."""

    pairs_read: int
    majority: float
    """Accuracy of the more frequent label."""
    length_only_accuracy: float
    """Accuracy of a logistic regression on the two lengths, fitted to training pairs."""

    @property
    def leak(self) -> bool:
        """Whether the margin exceeds both `LEAK` and chance (three standard errors)."""
        error = np.sqrt(self.majority * (1 - self.majority) / self.pairs_read)
        return bool(self.length_only_accuracy - self.majority > max(LEAK, 3 * error))


def label_statistics(training: Pairs, held_out: Pairs) -> LabelStatistics | None:
    """Fits the length-only baseline and scores it; None without labels."""
    labels, held_out_labels = training.nsp_labels, held_out.nsp_labels
    if IGNORE_INDEX in labels or IGNORE_INDEX in held_out_labels:
        return None
    is_random = held_out_labels == IS_RANDOM
    fraction = float(is_random.mean())
    return LabelStatistics(
        pairs_read=len(is_random),
        majority=max(fraction, 1 - fraction),
        length_only_accuracy=logistic_accuracy(
            length_features(training), labels == IS_RANDOM, length_features(held_out), is_random
        ),
    )


def length_features(pairs: Pairs) -> np.ndarray:
    """Returns features `(pairs, features)` of the lengths of both halves."""
    a, b = pairs.first_length.astype(np.float64), pairs.second_length.astype(np.float64)
    log_a, log_b = np.log(np.maximum(a, 1)), np.log(np.maximum(b, 1))
    difference, total = log_a - log_b, a + b
    full = total == total.max()
    features = [log_a, log_b, log_a * log_b, np.abs(difference), difference**2, a, b, total, full]
    return np.stack(features, axis=1)


def logistic_accuracy(
    features: np.ndarray, labels: np.ndarray, held_features: np.ndarray, held_labels: np.ndarray
) -> float:
    """Returns the held-out accuracy of a logistic regression with a small ridge penalty."""
    mean, spread = features.mean(0), features.std(0) + 1e-9
    x, held_x = (torch.from_numpy((rows - mean) / spread) for rows in (features, held_features))
    y = torch.from_numpy(labels).to(x)
    weights = torch.zeros(x.shape[1] + 1, dtype=x.dtype, requires_grad=True)  # the bias comes last
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = F.binary_cross_entropy_with_logits(x @ weights[:-1] + weights[-1], y)
        value = fit + _RIDGE / 2 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    predicted = held_x @ weights[:-1] + weights[-1] > 0
    return float((predicted.numpy() == held_labels).mean())
