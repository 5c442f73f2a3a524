"""The vocabulary: words, or wordpieces."""

from dataclasses import dataclass
from enum import StrEnum

from bert_lightning.config.affects import PLACE, TOKENS, option
from bert_lightning.errors import UserError


class TokenizerKind(StrEnum):
    """How the corpus's own vocabulary is built."""

    word = "word"
    """Whole words; a rare one is `[UNK]`."""
    wordpiece = "wordpiece"
    """Words and wordpieces, as BERT's; a rare word is several pieces."""


@dataclass
class TokenizerConfig:
    """The vocabulary: words, or wordpieces."""

    kind: TokenizerKind = option(TokenizerKind.word, TOKENS)
    """The tokens of the corpus's own vocabulary, where `path` names no tokenizer."""
    path: str | None = option(None, TOKENS | PLACE)
    """An existing tokenizer to use: a `tokenizer.json`, or a name on the Hugging Face hub such as
    `bert-base-uncased`; null builds one from the corpus, with the other options."""
    extend: int = option(0, TOKENS)
    """How many of the corpus's words to add to an existing tokenizer, that of `path` or of
    `init_from`: the most frequent that it splits into pieces, or does not know at all."""
    vocab_size: int | None = option(None, TOKENS)
    """Tokens of the vocabulary, special tokens included: exactly so many, or an error. Null is as
    many as `min_frequency` lets in, of wordpieces 8,000 at most."""
    min_frequency: int = option(5, TOKENS)
    """How often a word, or two pieces side by side, must occur in the training split to be in the
    vocabulary."""
    lowercase: bool = option(True, TOKENS)
    """Whether "Crane" and "crane" are one word."""
    strip_accents: bool = option(False, TOKENS)
    """Whether "café" and "cafe" are one word."""

    def __post_init__(self) -> None:
        if self.min_frequency < 1:
            raise UserError(f"tokenizer.min_frequency={self.min_frequency} must be 1 or more")
        if self.extend < 0:
            raise UserError(f"tokenizer.extend={self.extend} must be 0 or more")
        if self.vocab_size is not None and self.vocab_size < 6:
            raise UserError(
                f"tokenizer.vocab_size={self.vocab_size} must be 6 or more: "
                "the five special tokens count in it"
            )
