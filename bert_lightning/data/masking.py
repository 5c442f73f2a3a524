"""Which tokens are predicted, and what stands in their place."""

from typing import NamedTuple

import numpy as np

from bert_lightning.config import MaskingConfig
from bert_lightning.data.randomness import Stream, integers_below, random_bits, uniform


class Masked(NamedTuple):
    """Tokens after masking."""

    token_ids: np.ndarray
    """`(total,)` with masks and replacements in place."""
    positions: np.ndarray
    """`(masked,)` indices of the tokens to predict, rising."""
    labels: np.ndarray
    """`(masked,)` the original tokens there."""


def number_of_predictions(
    lengths: np.ndarray, special: int | np.ndarray, probability: float
) -> np.ndarray:
    """Predicted tokens of examples with these lengths `(examples,)`: at least one.

    The share is taken of the whole length, as in BERT; the `special` tokens of each example count
    in it, but cannot be chosen.
    """
    wanted = np.maximum(1, np.rint(lengths * probability).astype(np.int64))
    return np.minimum(wanted, lengths - special)


def mask_tokens(
    token_ids: np.ndarray,
    maskable: np.ndarray,
    lengths: np.ndarray,
    predictions: np.ndarray,
    keys: np.ndarray,
    config: MaskingConfig,
    mask_id: int,
    ordinary_ids: np.ndarray,
) -> Masked:
    """Chooses tokens evenly among the maskable ones and replaces them.

    Args:
        token_ids: `(total,)` tokens of all examples, end to end.
        maskable: `(total,)` bool, False for `[CLS]` and `[SEP]`.
        lengths: `(examples,)` tokens of each example.
        predictions: `(examples,)` how many tokens to choose of each.
        keys: `(total,)` uint64 random bits that name each token of each example.
        config: the shares of mask, random word and kept word.
        mask_id: the id of `[MASK]`.
        ordinary_ids: the ids that a random replacement may have.
    """
    # Sorted by (example, not maskable, draw), the first tokens of each example are the chosen.
    example = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    draws = random_bits(keys, Stream.masked) >> np.uint64(33)
    barred = (~maskable).astype(np.uint64)
    order = np.argsort(
        (example << np.uint64(32)) | (barred << np.uint64(31)) | draws, kind="stable"
    )
    starts = np.cumsum(lengths) - lengths
    rank = np.arange(len(token_ids)) - np.repeat(starts, lengths)
    positions = np.sort(order[rank < np.repeat(predictions, lengths)])

    chosen = keys[positions]
    draw = uniform(random_bits(chosen, Stream.replacement))
    words = ordinary_ids[integers_below(random_bits(chosen, Stream.random_word), len(ordinary_ids))]
    labels = token_ids[positions]
    replacement = np.where(draw < config.mask_share, mask_id, words)
    kept = draw >= config.mask_share + config.random_share
    masked = token_ids.copy()
    masked[positions] = np.where(kept, labels, replacement)
    return Masked(masked, positions, labels)
