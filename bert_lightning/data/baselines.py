"""What can be scored without reading a word of context: the floors that a model has to beat."""

from typing import NamedTuple

import numpy as np

from bert_lightning.batch import IGNORE_INDEX
from bert_lightning.corpus.store import Split
from bert_lightning.data.batches import EvaluationBatches

_CHUNK = 1 << 24
"""Tokens that are counted at a time."""


class Baselines(NamedTuple):
    """Losses in nats and accuracies of predictors that see no context; None without pairs."""

    mlm_loss: float
    """Each masked word predicted by its frequency in the training split."""
    mlm_accuracy: float
    """The training split's most frequent word predicted everywhere."""
    nsp_loss: float | None
    """Every pair predicted by the share of the labels."""
    nsp_accuracy: float | None
    """The more frequent label predicted everywhere."""


def baselines(train: Split, held_out: EvaluationBatches, vocab_size: int) -> Baselines:
    """Scores those predictors on the held-out pairs and masks; every word counts once more."""
    counts = count_tokens(train, vocab_size)
    batches = [held_out[i] for i in range(len(held_out))]
    labels = np.concatenate([batch.masked_labels.numpy() for batch in batches])
    pairs = pair_baselines(np.concatenate([batch.nsp_labels.numpy() for batch in batches]))
    return Baselines(
        mlm_loss=float(unigram_nll(counts)[labels].mean()),
        mlm_accuracy=float((labels == counts.argmax()).mean()),
        nsp_loss=None if pairs is None else pairs[0],
        nsp_accuracy=None if pairs is None else pairs[1],
    )


def count_tokens(split: Split, vocab_size: int) -> np.ndarray:
    """How often each token occurs in a split, `(vocab,)`; in little memory, however large it is."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(split.token_ids), _CHUNK):
        counts += np.bincount(split.token_ids[start : start + _CHUNK], minlength=vocab_size)
    return counts


def unigram_log_probs(train: Split, vocab_size: int) -> np.ndarray:
    """Log of each word's share of the training split, `(vocab_size,)`; every word counts once more
    than it occurs."""
    return -unigram_nll(count_tokens(train, vocab_size))


def unigram_nll(counts: np.ndarray) -> np.ndarray:
    """What each token costs by its frequency alone, `(vocab,)` nats; all are counted once more."""
    return np.log(counts.sum() + len(counts)) - np.log(counts + 1)


def pair_baselines(labels: np.ndarray) -> tuple[float, float] | None:
    """Loss and accuracy of predicting every pair by the labels' shares; None without pairs."""
    labelled = labels[labels != IGNORE_INDEX]
    if not len(labelled):
        return None
    shares = np.clip(np.bincount(labelled, minlength=2) / len(labelled), 1e-12, 1)
    return float(-(shares * np.log(shares)).sum()), float(shares.max())
