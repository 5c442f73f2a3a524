"""Baselines of an evaluation set: the scores of predictors that see no context."""

from typing import NamedTuple

import numpy as np

from bert_lightning.batch import IGNORE_INDEX


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


def baselines(
    token_counts: np.ndarray, masked_labels: np.ndarray, pair_labels: np.ndarray
) -> Baselines:
    """Scores the baselines: tokens counted in training `(vocab,)`, and labels to predict."""
    labeled = pair_labels[pair_labels != IGNORE_INDEX]
    nsp_loss = nsp_accuracy = None
    if len(labeled):
        frequencies = np.clip(np.bincount(labeled, minlength=2) / len(labeled), 1e-12, 1)
        nsp_loss = float(-(frequencies * np.log(frequencies)).sum())
        nsp_accuracy = float(frequencies.max())
    return Baselines(
        mlm_loss=float(unigram_nll(token_counts)[masked_labels].mean()),
        mlm_accuracy=float((masked_labels == token_counts.argmax()).mean()),
        nsp_loss=nsp_loss,
        nsp_accuracy=nsp_accuracy,
    )


def unigram_nll(token_counts: np.ndarray) -> np.ndarray:
    """Returns the unigram baseline's loss for each token, `(vocab,)` nats; adds 1 to each count."""
    return np.log(token_counts.sum() + len(token_counts)) - np.log(token_counts + 1)
