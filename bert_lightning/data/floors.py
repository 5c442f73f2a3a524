"""What can be scored without reading a word of context: the floors that a model has to beat."""

from typing import NamedTuple

import numpy as np

from bert_lightning.data.batches import EvaluationBatches
from bert_lightning.data.store import Split


class Floors(NamedTuple):
    """Losses in nats and accuracies of predictors that see no context."""

    mlm_loss: float
    """Each masked word predicted by its frequency in the training split."""
    mlm_accuracy: float
    """The training split's most frequent word predicted everywhere."""
    nsp_loss: float
    """Every pair predicted by the share of the labels."""
    nsp_accuracy: float
    """The more frequent label predicted everywhere."""


def floors(train: Split, held_out: EvaluationBatches, vocab_size: int) -> Floors:
    """Scores those predictors on the held-out pairs and masks; every word counts once more."""
    counts = np.bincount(np.asarray(train.token_ids), minlength=vocab_size) + 1
    log_probs = np.log(counts / counts.sum())
    batches = [held_out[i] for i in range(len(held_out))]
    labels = np.concatenate([batch.masked_labels.numpy() for batch in batches])
    random_share = float(np.concatenate([batch.nsp_labels.numpy() for batch in batches]).mean())
    shares = np.clip([random_share, 1 - random_share], 1e-12, 1)
    return Floors(
        mlm_loss=float(-log_probs[labels].mean()),
        mlm_accuracy=float((labels == counts.argmax()).mean()),
        nsp_loss=float(-(shares * np.log(shares)).sum()),
        nsp_accuracy=float(shares.max()),
    )
