"""The faults of a corpus that spoil a model, in words: the number, the limit, the way out."""

import re

from bert_lightning.config import BatchConfig, MaskingUnit, Overlong, TokenizerKind
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.corpus.words import CHINESE
from bert_lightning.data.phases import phase_options
from bert_lightning.data.statistics import DataStatistics

MOST_UNKNOWN = 0.05
"""The fraction of the training split's tokens that may be `[UNK]` without a warning."""
MOST_OVERLONG = 0.2
"""The fraction of the sentence pairs that may be too long for an example without a warning."""
MOST_CHINESE = 0.2
"""The fraction of tokens that may be Chinese characters without a warning of whole-word masks."""
PIECES = "tokenizer=wordpiece makes rare words of pieces, of which few are unknown"
MORE_PIECES = (
    "a higher tokenizer.vocab_size has room for more single characters, and a lower "
    "tokenizer.min_frequency lets them in"
)
EXTENSION = "tokenizer.extend=1000 adds the words and characters that an existing tokenizer lacks"


def shortcomings(corpus: PreparedCorpus, found: DataStatistics, config: BatchConfig) -> list[str]:
    """Returns a sentence for each measurement that is beyond its limit."""
    sentences = []
    unknown = found.splits["train"].unknown_fraction
    if unknown > MOST_UNKNOWN:
        sentences.append(
            f"{unknown:.1%} of the training tokens are [UNK], more than {MOST_UNKNOWN:.0%}: the "
            f"tokenizer does not fit the text. {_fitting(corpus)}"
        )
    unit, chinese = config.masking.unit, _chinese_fraction(corpus)
    if unit is not MaskingUnit.token and chinese > MOST_CHINESE:
        sentences.append(
            f"{chinese:.1%} of the training tokens are single Chinese characters, more than "
            f"{MOST_CHINESE:.0%}, and to the tokenizer each is a word, so "
            f"batch.masking.unit={unit.value} masks characters: data.words=rjieba finds the words "
            "of Chinese, data.words=spaces takes those of text that was segmented before"
        )
    fate = "left out" if config.pairs.overlong is Overlong.drop else "cut"
    for examples, options in zip(
        found.phases or [found.examples], phase_options(config), strict=True
    ):
        if examples.overlong_fraction > MOST_OVERLONG:
            sentences.append(
                f"{examples.overlong_fraction:.1%} of the sentence pairs, more than "
                f"{MOST_OVERLONG:.0%}, are longer than batch.max_length={options.max_length}, and "
                f"{fate}: a higher batch.max_length keeps more of them whole"
            )
    return sentences


def _chinese_fraction(corpus: PreparedCorpus) -> float:
    """Returns the fraction of training tokens that are Chinese characters, if none are joined."""
    if corpus.identity["source"]["options"].get("data.words") is not None:
        return 0.0
    counts, character = corpus.splits["train"].token_counts, re.compile(f"[{CHINESE}]")
    vocabulary = corpus.tokenizer.get_vocab().items()
    found = [number for token, number in vocabulary if character.fullmatch(token)]
    return float(counts[found].sum() / counts.sum())


def _fitting(corpus: PreparedCorpus) -> str:
    """Names the tokenizer that fits better than the one of a corpus."""
    if corpus.identity["tokenizer_base"] is not None:
        return f"{EXTENSION}; without tokenizer.path and init_from, {PIECES}"
    word = corpus.identity["tokenizer"]["tokenizer.kind"] == TokenizerKind.word.value
    return PIECES if word else MORE_PIECES
