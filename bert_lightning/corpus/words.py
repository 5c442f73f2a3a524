"""Sentence → words, where the text has no spaces between them: what masks of whole words cover.

To a tokenizer of wordpieces each Chinese character is a word of its own. A segmenter says which of
them belong together. Only masks know its words: tokens, vocabulary and models stay as they are.
`data.words=module:function` selects one of your own, marked with `@extension("segmenter")`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any
from unicodedata import category

import numpy as np

from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.extensions import code_version, find

CHINESE = "々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, also those of Japanese text, for a class of a regular expression."""
_CHINESE = re.compile(f"[{CHINESE}]")
_SYMBOLS = frozenset("$+<=>^`|~")
"""ASCII's symbols, which tokenizers of wordpieces take for punctuation."""
_LONGEST_SHOWN = 60
"""Characters of a sentence in a message."""


@dataclass(frozen=True)
class Segmenter:
    """A function from a sentence to its words, and its name in `data.words`."""

    name: str
    split: Callable[[str], Iterable[str]]

    def starts(self, sentence: str) -> list[int]:
        """Returns the place of each word's first character; spaces belong to the word after them.

        Raises:
            UserError: the words do not join to the sentence.
        """
        words = [*self.split(sentence)]
        if not all(isinstance(word, str) for word in words) or "".join(words) != sentence:
            raise UserError(
                f"data.words={self.name}: the words of '{_shown(sentence)}' must join to that "
                f"sentence, with its spaces, and they are {_shown(repr(words))}"
            )
        places, place, after_space = list[int](), 0, False
        for word in words:
            if word and not after_space:
                places.append(place)
            place, after_space = place + len(word), word.isspace() or (after_space and not word)
        return places

    def of_tokens(
        self, sentences: Sequence[str], offsets: Iterable[Sequence[tuple[int, int]]]
    ) -> np.ndarray:
        """Returns which tokens of some sentences begin a word, `(tokens,)` bool.

        `offsets` are the characters of each token, from and to. A token belongs to the word of its
        first character, and begins the word if the token before it belongs to another. The word
        起重机 of three tokens in 看 起 重 机 begins at the second token alone:

        >>> Segmenter("own", lambda _: ["看", "起重机"]).of_tokens(
        ...     ["看起重机"], [[(0, 1), (1, 2), (2, 3), (3, 4)]]
        ... ).tolist()
        [True, True, False, False]
        """
        starts = [np.zeros(0, bool)]
        for sentence, places in zip(sentences, offsets, strict=True):
            first = np.array([start for start, _ in places], np.int64)
            word = np.searchsorted(self.starts(sentence), first, side="right")
            starts.append(np.diff(word, prepend=-1) != 0)
        return np.concatenate(starts)


def split_at_spaces(sentence: str) -> list[str]:
    """Takes what stands between spaces as words, for text that was segmented before."""
    return re.findall(r"\s+|\S+", sentence)


def split_rjieba(sentence: str) -> list[str]:
    """Splits Chinese by jieba's dictionary and model, which rjieba has in Rust.

    jieba would also divide what it does not know, such as café or an emoji of several characters.
    Such words of other scripts stay whole.
    """
    words: list[str] = []
    for word in _rjieba().cut(sentence):
        if words and not (_stands_alone(words[-1][-1]) or _stands_alone(word[0])):
            words[-1] += word
        else:
            words.append(word)
    return words


def _stands_alone(character: str) -> bool:
    """Whether the character is Chinese, a space or punctuation."""
    return (
        _CHINESE.match(character) is not None
        or character.isspace()
        or character in _SYMBOLS
        or category(character).startswith("P")
    )


@cache
def _rjieba() -> Any:
    try:
        import rjieba
    except ImportError as error:
        raise UserError(
            "data.words=rjieba needs the package rjieba, which is not installed: "
            "pip install 'bert-lightning[chinese]', or omit data.words, which only masks of whole "
            "words and of spans use"
        ) from error
    return rjieba


SEGMENTERS = {"rjieba": split_rjieba, "spaces": split_at_spaces}
"""The segmenters by their names in `data.words`."""


def find_segmenter(name: str | None) -> Segmenter | None:
    """Returns the segmenter of that name, which must exist and have the packages that it needs.

    None, for null, leaves words to the tokenizer.
    """
    if name is None:
        return None
    if ":" in name:
        return Segmenter(name, find("segmenter", name, "data.words"))
    if name not in SEGMENTERS:
        known = ", ".join(SEGMENTERS)
        raise UserError(
            f"data.words={name} is not one of {known}{did_you_mean(name, SEGMENTERS)}; "
            "module:function names one of your own, and null leaves words to the tokenizer"
        )
    SEGMENTERS[name]("")  # fails if its package is missing
    return Segmenter(name, SEGMENTERS[name])


def segmenter_version(name: str | None) -> str:
    """Returns a value that changes when a segmenter of other code does, and "" for others."""
    find_segmenter(name)
    return metadata.version("rjieba") if name == "rjieba" else code_version(name or "")


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
