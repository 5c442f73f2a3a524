"""The words, or pieces of words, that the model knows."""

from dataclasses import dataclass
from enum import StrEnum

from bert_lightning.errors import UserError


class TokenizerKind(StrEnum):
    """How the corpus's own vocabulary is made."""

    word = "word"
    """Whole words; a rare one is `[UNK]`."""
    wordpiece = "wordpiece"
    """Words and pieces of words, as BERT's; a rare word is several pieces."""


@dataclass
class TokenizerConfig:
    """The words, or pieces of words, that the model knows."""

    kind: TokenizerKind = TokenizerKind.word
    """What the corpus is taken apart into, where `path` names no tokenizer."""
    path: str | None = None
    """An existing tokenizer to use: a `tokenizer.json`, or a name on the Hugging Face hub such as
    `bert-base-uncased`; null builds one from the corpus, and the other options say how."""
    extend: int = 0
    """How many of the corpus's words to add to an existing tokenizer, that of `path` or of
    `init_from`: the most frequent that it has only in pieces, or not at all."""
    vocab_size: int | None = None
    """Entries of the vocabulary, special tokens included: so many, or an error. Null is as many as
    `min_frequency` lets in, of word pieces 8,000 at most."""
    min_frequency: int = 5
    """How often a word, or two pieces side by side, must occur in the training split to be in the
    vocabulary."""
    lowercase: bool = True
    """Whether "Crane" and "crane" are one word."""
    strip_accents: bool = False
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
