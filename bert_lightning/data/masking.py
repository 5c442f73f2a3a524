"""Which tokens are predicted, and what stands in their place."""

from typing import NamedTuple

import numpy as np

from bert_lightning.config import MaskingConfig, MaskingUnit
from bert_lightning.data.randomness import Stream, integers_below, random_bits, uniform

LONGEST_SPAN = 10
"""Most words in a span, as in SpanBERT (Joshi et al., 2020)."""
_STOP = 0.2
_SPAN_LENGTHS = np.array(
    [(1 - (1 - _STOP) ** k) / (1 - (1 - _STOP) ** LONGEST_SPAN) for k in range(1, LONGEST_SPAN)]
)
"""`(9,)` shares of spans of at most 1, 2, … 9 words: geometric, cut off at 10, 3.8 in the mean."""


class Masked(NamedTuple):
    """Tokens after masking."""

    token_ids: np.ndarray
    """`(total,)` with masks and replacements in place."""
    positions: np.ndarray
    """`(masked,)` indices of the tokens to predict, rising."""
    labels: np.ndarray
    """`(masked,)` the original tokens there."""


class _Units(NamedTuple):
    """What is chosen as a whole, in the order of the text: tokens or words."""

    first: np.ndarray
    """`(units,)` the place of each unit's first token."""
    example: np.ndarray
    """`(units,)` the example that it is in."""
    draw: np.ndarray
    """`(units,)` 31 random bits: within an example, the lowest are chosen first."""
    owner: np.ndarray
    """`(units,)` the unit that decides what stands in its place; a span's is the span's first."""


def mlm_probability_at(config: MaskingConfig, progress: float) -> float:
    """The share of predicted tokens when `progress` (0 to 1) of the run's steps are done."""
    end = config.mlm_probability_end
    if end is None:
        return config.mlm_probability
    done = min(max(progress, 0.0), 1.0)
    return (1 - done) * config.mlm_probability + done * end


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
    word_starts: np.ndarray | None = None,
) -> Masked:
    """Chooses tokens among the maskable ones and replaces them; `config.unit` says how.

    * `token`: tokens, evenly.
    * `word`: words in random order. The last one is cut, so that the number of tokens is exactly
      that of `predictions`, which every rank knows before the batch is made.
    * `span`: words in random order, each the first of a span of 1 to 10 words (geometric with
      p = 0.2, 3.8 in the mean) that ends before a special token at the latest. What an earlier
      span took is not taken again, and the last span is cut.

    Whether masks, random words or the tokens themselves stand there is decided once a unit; which
    random words, once a token.

    Args:
        token_ids: `(total,)` tokens of all examples, end to end.
        maskable: `(total,)` bool, False for `[CLS]` and `[SEP]`.
        lengths: `(examples,)` tokens of each example.
        predictions: `(examples,)` how many tokens to choose of each; no more than are maskable.
        keys: `(total,)` uint64 random bits that name each token of each example.
        config: the unit, and the shares of mask, random word and kept word.
        mask_id: the id of `[MASK]`.
        ordinary_ids: the ids that a random replacement may have.
        word_starts: `(total,)` bool, True where a token begins a word; a token that is not
            maskable, the one behind it and the first of an example always do. None: all do.
    """
    example = np.repeat(np.arange(len(lengths)), lengths)  # (total,)
    if config.unit is MaskingUnit.token or word_starts is None:
        first = np.arange(len(token_ids))
        at_first: np.ndarray | slice = slice(None)
    else:
        first = at_first = np.flatnonzero(_word_starts(word_starts, maskable, lengths))
    draw = (random_bits(keys[at_first], Stream.masked) >> np.uint64(33)).astype(np.int64)
    units = _Units(first, example[at_first], draw, np.arange(len(first)))
    if config.unit is MaskingUnit.span:
        units = _spans(units, maskable, keys)
    positions, unit = _choose(units, maskable, lengths, predictions)

    decided_by = keys[units.first[units.owner[unit]]]  # (masked,)
    decision = uniform(random_bits(decided_by, Stream.replacement))
    words = random_bits(keys[positions], Stream.random_word)
    labels = token_ids[positions]
    replacement = np.where(
        decision < config.mask_replace_prob,
        mask_id,
        ordinary_ids[integers_below(words, len(ordinary_ids))],
    )
    kept = decision >= config.mask_replace_prob + config.random_replace_prob
    masked = token_ids.copy()
    masked[positions] = np.where(kept, labels, replacement)
    return Masked(masked, positions, labels)


def _word_starts(word_starts: np.ndarray, maskable: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Where words begin `(total,)`, each special token a word of its own."""
    starts = word_starts | ~maskable
    starts[1:] |= ~maskable[:-1]
    starts[np.cumsum(lengths) - lengths] = True
    return starts


def _spans(units: _Units, maskable: np.ndarray, keys: np.ndarray) -> _Units:
    """Gives each word to the span with the lowest draw of those that reach it.

    In the order of the new draws the words of a span follow each other. A loop over the words of
    the longest span, not over those of the text.
    """
    draw, owner = units.draw.copy(), units.owner.copy()
    length_bits = random_bits(keys[units.first], Stream.span_length)
    length = 1 + np.searchsorted(_SPAN_LENGTHS, uniform(length_bits), side="right")
    # A special token ends the stretch of text that a span may run over, and so does an example.
    stretch = 2 * np.cumsum(~maskable[units.first]) + 2 * units.example
    stretch += ~maskable[units.first]
    for ahead in range(1, min(LONGEST_SPAN, len(draw))):
        reaches = (length[:-ahead] > ahead) & (stretch[:-ahead] == stretch[ahead:])
        lower = reaches & (units.draw[:-ahead] <= draw[ahead:])
        draw[ahead:][lower] = units.draw[:-ahead][lower]
        owner[ahead:][lower] = units.owner[:-ahead][lower]
    return units._replace(draw=draw, owner=owner)


def _choose(
    units: _Units, maskable: np.ndarray, lengths: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen tokens `(masked,)`, rising, and the unit that each is in.

    Sorted by (example, not maskable, draw, place), the first tokens of each example are chosen.
    """
    barred = (~maskable[units.first]).astype(np.int64)
    order = np.argsort((units.example << 32) | (barred << 31) | units.draw, kind="stable")
    sizes = np.diff(units.first, append=len(maskable))[order]  # (units,), in the new order
    starts = np.cumsum(lengths) - lengths
    before = np.cumsum(sizes) - sizes - starts[units.example]  # tokens of the example before it
    taken = np.clip(predictions[units.example] - before, 0, sizes)
    unit = np.repeat(order, taken)  # (masked,)
    within = np.arange(len(unit)) - np.repeat(np.cumsum(taken) - taken, taken)
    positions = units.first[unit] + within
    unit_at = np.full(len(maskable), -1)
    unit_at[positions] = unit
    rising = np.flatnonzero(unit_at >= 0)  # several times faster than sorting them
    return rising, unit_at[rising]
