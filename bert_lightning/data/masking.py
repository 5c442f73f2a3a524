"""Which tokens are predicted, and what replaces them."""

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
"""`(9,)` probabilities that a span has at most 1, 2, … 9 words: geometric, cut off at 10; 3.8 words
on average."""


class Masked(NamedTuple):
    """Tokens after masking."""

    token_ids: np.ndarray
    """`(total,)` with masks and replacements in place."""
    positions: np.ndarray
    """`(masked,)` indices of the tokens to predict, ascending."""
    labels: np.ndarray
    """`(masked,)` the original tokens there."""


class _Units(NamedTuple):
    """What is chosen as a whole, in the order of the text: tokens or words."""

    first: np.ndarray
    """`(units,)` the index of each unit's first token."""
    example: np.ndarray
    """`(units,)` the example that contains it."""
    draw: np.ndarray
    """`(units,)` 31 random bits: within an example, the lowest are chosen first."""
    owner: np.ndarray
    """`(units,)` the unit that decides how it is replaced; for a span, its first word."""


def mlm_probability_at(config: MaskingConfig, progress: float) -> float:
    """Returns the fraction of predicted tokens when `progress` (0 to 1) of the run is done."""
    end = config.mlm_probability_end
    if end is None:
        return config.mlm_probability
    done = min(max(progress, 0.0), 1.0)
    return (1 - done) * config.mlm_probability + done * end


def number_of_predictions(
    lengths: np.ndarray, special: int | np.ndarray, probability: float
) -> np.ndarray:
    """Returns the number of predicted tokens of examples `(examples,)`: at least one.

    As in BERT, it is a fraction of the whole length: the `special` tokens of an example count in
    it, although they cannot be chosen.

    >>> number_of_predictions(np.array([4, 20, 128]), special=3, probability=0.15).tolist()
    [1, 3, 19]
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
    """Chooses tokens among the maskable ones and replaces them; `config.unit` decides how.

    * `token`: tokens, with equal probability.
    * `word`: words in random order. The last one is cut, so that the number of tokens is exactly
      that of `predictions`, which every rank knows before the batch is built.
    * `span`: words in random order, each the first of a span that ends before the next special
      token. A span skips what an earlier one has taken, and the last span is cut.

    A mask, random tokens or the original ones: that is decided once a unit, and which random
    tokens, once a token.

    Args:
        token_ids: `(total,)` tokens of all examples.
        maskable: `(total,)` bool, False for `[CLS]` and `[SEP]`.
        lengths: `(examples,)` tokens of each example.
        predictions: `(examples,)` how many tokens to choose of each; no more than are maskable.
        keys: `(total,)` uint64 random bits that name each token of each example.
        config: the options of masking.
        mask_id: the id of `[MASK]`.
        ordinary_ids: the ids that a random replacement may have.
        word_starts: `(total,)` bool; a token that is not maskable, the one after it and the first
            of an example always begin a word. None: all do.
    """
    example = np.repeat(np.arange(len(lengths)), lengths)  # (total,)
    if config.unit is MaskingUnit.token or word_starts is None:
        first = np.arange(len(token_ids))
        at_first: np.ndarray | slice = slice(None)
    else:
        starts = word_starts | ~maskable
        starts[1:] |= ~maskable[:-1]
        starts[np.cumsum(lengths) - lengths] = True
        first = at_first = np.flatnonzero(starts)
    draw = (random_bits(keys[at_first], Stream.masked) >> np.uint64(33)).astype(np.int64)
    units = _Units(first, example[at_first], draw, np.arange(len(first)))
    if config.unit is MaskingUnit.span:
        span_bits = random_bits(keys[first], Stream.span_length)
        span = 1 + np.searchsorted(_SPAN_LENGTHS, uniform(span_bits), side="right")
        units = _join_spans(units, maskable[first], span)
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


def _join_spans(units: _Units, maskable: np.ndarray, span: np.ndarray) -> _Units:
    """Gives each word to the span with the lowest draw of those that reach it.

    Four words with the draws 7, 3, 5, 9 start spans of 1, 2, 3 and 1 words: the second word's span
    takes the third word, whose own span is left with the fourth one. Spans are then chosen in the
    order of the draws: words 1 and 2, then 3, then 0.

    >>> words = _Units(np.arange(4), np.zeros(4, int), np.array([7, 3, 5, 9]), np.arange(4))
    >>> joined = _join_spans(words, np.ones(4, bool), span=np.array([1, 2, 3, 1]))
    >>> joined.draw.tolist(), joined.owner.tolist()
    ([7, 3, 3, 5], [0, 1, 1, 2])

    Of each word, `maskable` says whether it may be masked, and `span` how many words its span has.
    """
    draw, owner = units.draw.copy(), units.owner.copy()
    # A special token ends the stretch of text that a span may cover, and so does an example.
    stretch = 2 * np.cumsum(~maskable) + 2 * units.example
    stretch += ~maskable
    for ahead in range(1, min(LONGEST_SPAN, len(draw))):
        reaches = (span[:-ahead] > ahead) & (stretch[:-ahead] == stretch[ahead:])
        lower = reaches & (units.draw[:-ahead] <= draw[ahead:])
        draw[ahead:][lower] = units.draw[:-ahead][lower]
        owner[ahead:][lower] = units.owner[:-ahead][lower]
    return units._replace(draw=draw, owner=owner)


def _choose(
    units: _Units, maskable: np.ndarray, lengths: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the chosen tokens `(masked,)`, ascending, and the unit of each.

    Units are sorted by (example, not maskable, draw, place), and the first tokens of each example
    are chosen. In the four tokens `the`, `ca`, `##t`, `sat`, words with the draws 5, 2 and 9, three
    tokens are `ca`, `##t` and `the`. With one token, the first word is cut:

    >>> words = _Units(np.array([0, 1, 3]), np.zeros(3, int), np.array([5, 2, 9]), np.arange(3))
    >>> for number in (1, 2, 3):
    ...     positions, unit = _choose(words, np.ones(4, bool), np.array([4]), np.array([number]))
    ...     print(positions.tolist(), unit.tolist())
    [1] [1]
    [1, 2] [1, 1]
    [0, 1, 2] [0, 1, 1]
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
    ascending = np.flatnonzero(unit_at >= 0)  # several times faster than sorting them
    return ascending, unit_at[ascending]
