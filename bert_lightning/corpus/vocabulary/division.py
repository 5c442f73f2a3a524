"""How far text may be divided before it is tokenized, so that its tokens stay what they are.

The fewer distinct parts a text has, the less is left for the tokenizer: `(crane), crane. Crane` is
three texts between spaces, or at punctuation two words and marks.
"""

import json
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from tokenizers import Tokenizer

from bert_lightning.corpus.vocabulary.spelling import ACCENTS, INVISIBLE

_SPLIT_AT_SPACES = {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}
_SPLIT_AT_PUNCTUATION = {"Punctuation", "BertPreTokenizer"}
_PRE_TOKENIZERS = _SPLIT_AT_SPACES | {"Punctuation", "Digits", "Split"}
_NORMALIZERS = {
    *("Lowercase", "StripAccents", "BertNormalizer", "Replace"),
    *("NFC", "NFD", "NFKC", "NFKD"),
}
_PATTERNS = {None, ACCENTS, INVISIBLE}
"""Parts of a tokenizer that treat a word alike, whatever stands beyond the spaces around it."""
_PARTS = re.compile(
    r"""
    [ ]
    | (?<=[ ]) [!-~]*+ [^ -~] [^ ]*  # a word that has another character
    | [0-9A-Za-z]+
    | [!-/:-@\[-`{-~]
    """,
    re.VERBOSE,
)


class Divisible(IntEnum):
    """Where text may be divided; each place includes those before it."""

    NOWHERE = 0
    AT_SPACES = 1
    AT_PUNCTUATION = 2
    """Between spaces around each ASCII mark as well, if all the characters are ASCII."""


def divisible(tokenizer: Tokenizer) -> Divisible:
    """Returns where a text may be divided so that its tokens are those of its parts, in order."""
    parts = json.loads(tokenizer.to_str())
    normalizers, pre_tokenizers = (
        part.get("normalizers", part.get("pretokenizers", [part])) if part else []
        for part in (parts["normalizer"], parts["pre_tokenizer"])
    )
    replaced = [part.get("pattern", {}) for part in normalizers]
    if not (
        all(part["type"] in _NORMALIZERS for part in normalizers)
        and all(" " not in pattern.get("String", "") for pattern in replaced)
        and all(pattern.get("Regex") in _PATTERNS for pattern in replaced)
        and all(part["type"] in _PRE_TOKENIZERS for part in pre_tokenizers)
        and any(part["type"] in _SPLIT_AT_SPACES for part in pre_tokenizers[:1])
        and all(token["special"] for token in parts["added_tokens"])
    ):
        return Divisible.NOWHERE
    by_mark = any(_isolates_punctuation(part) for part in pre_tokenizers[:2])
    within_ascii = any(pattern.get("String", "é").isascii() for pattern in replaced)
    return Divisible.AT_PUNCTUATION if by_mark and not within_ascii else Divisible.AT_SPACES


def at_punctuation(words: Sequence[str]) -> list[str]:
    """Divides words around each mark of ASCII, and puts a space before each word.

    Those with a character that is none of ASCII's letters, digits and marks stay whole.
    """
    return _PARTS.findall(" ".join(["", *words]))


def _isolates_punctuation(pre_tokenizer: dict[str, Any]) -> bool:
    isolated = pre_tokenizer.get("behavior", "Isolated") == "Isolated"
    return pre_tokenizer["type"] in _SPLIT_AT_PUNCTUATION and isolated
