"""The vocabulary: words, or wordpieces."""

from dataclasses import dataclass
from enum import StrEnum

from bert_lightning.config.affects import PLACE, TOKENS, check_limits, option


class TokenizerKind(StrEnum):
    """How the corpus's own vocabulary is built."""

    word = "word"
    wordpiece = "wordpiece"


@dataclass
class TokenizerConfig:
    """The vocabulary: words, or wordpieces."""

    kind: TokenizerKind = option(TokenizerKind.word, TOKENS)
    """The tokens of the corpus's own vocabulary, where `path` names no tokenizer: whole words
    (`word`; a rare one is `[UNK]`), or words and pieces of rarer words (`wordpiece`, as BERT's)."""
    path: str | None = option(None, TOKENS | PLACE)
    """An existing tokenizer to use: a `tokenizer.json`, or a name on the Hugging Face hub such as
    `bert-base-uncased`; null builds one from the corpus, with the other options."""
    extend: int = option(0, TOKENS, at_least=0)
    """How many of the corpus's words to add to an existing tokenizer, that of `path` or of
    `init_from`: the most frequent that it splits into pieces, or does not know at all; characters
    that it lacks, such as emoji, count as words."""
    vocab_size: int | None = option(
        None, TOKENS, ": the five special tokens count in it", at_least=6
    )
    """Tokens of the vocabulary, special tokens included: exactly so many, or an error. Null is as
    many as `min_frequency` lets in, of wordpieces 8,000 at most."""
    min_frequency: int = option(5, TOKENS, at_least=1)
    """How often a word, or two pieces side by side, must occur in the training split to be in the
    vocabulary."""
    lowercase: bool = option(True, TOKENS)
    """Whether "Crane" and "crane" are one word. Turkish "I" becomes "i" too: there, use false."""
    strip_accents: bool = option(False, TOKENS)
    """Whether "café" and "cafe" are one word, in Latin, Greek and Cyrillic letters. The marks of
    other scripts carry meaning, and stay."""

    def __post_init__(self) -> None:
        check_limits(self, "tokenizer.")
