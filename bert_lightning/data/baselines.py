"""Baselines of an evaluation set: the scores of predictors that see no context."""

from typing import NamedTuple

import numpy as np


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
