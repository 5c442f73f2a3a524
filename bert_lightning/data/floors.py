"""What can be scored without reading a word of context: the floors that a model has to beat."""

from typing import NamedTuple

import numpy as np

from bert_lightning.batch import IGNORE_INDEX
from bert_lightning.data.batches import EvaluationBatches
from bert_lightning.data.store import Split


class Floors(NamedTuple):
    """Losses in nats and accuracies of predictors that see no context; None without pairs."""

    mlm_loss: float
    """Each masked word predicted by its frequency in the training split."""
    mlm_accuracy: float
    """The training split's most frequent word predicted everywhere."""
    nsp_loss: float | None
    """Every pair predicted by the share of the labels."""
    nsp_accuracy: float | None
    """The more frequent label predicted everywhere."""


def floors(train: Split, held_out: EvaluationBatches, vocab_size: int) -> Floors:
    """Scores those predictors on the held-out pairs and masks; every word counts once more."""
    log_probs = unigram_log_probs(train, vocab_size)
    batches = [held_out[i] for i in range(len(held_out))]
    labels = np.concatenate([batch.masked_labels.numpy() for batch in batches])
    nsp_loss, nsp_accuracy = _of_pairs(
        np.concatenate([batch.nsp_labels.numpy() for batch in batches])
    )
    return Floors(
        mlm_loss=float(-log_probs[labels].mean()),
        mlm_accuracy=float((labels == log_probs.argmax()).mean()),
        nsp_loss=nsp_loss,
        nsp_accuracy=nsp_accuracy,
    )


def unigram_log_probs(train: Split, vocab_size: int) -> np.ndarray:
    """Log of each word's share of the training split, `(vocab_size,)`; every word counts once more
    than it occurs."""
    counts = np.bincount(np.asarray(train.token_ids), minlength=vocab_size) + 1
    log_probs: np.ndarray = np.log(counts / counts.sum())
    return log_probs


def _of_pairs(labels: np.ndarray) -> tuple[float | None, float | None]:
    labelled = labels[labels != IGNORE_INDEX]
    if not len(labelled):
        return None, None
    shares = np.clip(np.bincount(labelled, minlength=2) / len(labelled), 1e-12, 1)
    return float(-(shares * np.log(shares)).sum()), float(shares.max())
