"""Text whose lines were broken at a width: how it is recognized, and how its lines are joined.

A program that fills lines ends one only where the next word has no room. So of two lines in a row
the first is *filled* if it, a space and the first word of the second one are wider than the text.
That also holds for half of the lines that happen to be about as long as the longest, such as verses
or sentences of a drill; but those end in a sentence mark, and verses are narrow.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from unicodedata import east_asian_width

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.readers.left_out import LeftOut

_BEGINNING = 64_000
"""Characters of a file that are looked at."""
_FEWEST = 8
"""Pairs of lines that must follow each other."""
_FILLED = 0.5
"""The fraction of the pairs whose first line must be filled and end within a sentence."""
_NARROWEST, _WIDEST = 40, 160
"""Columns of a text that may be hard-wrapped: verses are narrower, paragraphs wider."""
_BEYOND = 8
"""Columns by which a line may be wider than nine in ten lines are."""
_SENTENCE_MARKS = tuple(".!?:;…。！？：；।؟")
_BROKEN_WORD = re.compile(r"[^\W\d_][-\u2010]")


def unwrapping(
    lines: Iterator[str], name: str, data: CorpusConfig, left_out: LeftOut
) -> tuple[bool, Iterator[str]]:
    """Returns whether a file is hard-wrapped, by the option or its beginning, and its lines."""
    if data.hard_wrapped is not None:
        return data.hard_wrapped, lines
    beginning, characters = [], 0
    for line in lines:
        beginning.append(line)
        characters += len(line)
        if characters >= _BEGINNING:
            break
    found = is_hard_wrapped(beginning)
    if found:
        left_out.add(
            *("files", name, "data.hard_wrapped=false takes each line for a paragraph"),
            fate="Read as text with hard line breaks",
        )
    return found, chain(beginning, lines)


def is_hard_wrapped(lines: Iterable[str]) -> bool:
    """Whether most lines that another one follows were ended for lack of room."""
    texts = [line.expandtabs().rstrip() for line in lines]
    pairs = [(one, other.split()[0]) for one, other in pairwise(texts) if one and other]
    if len(pairs) < _FEWEST:
        return False
    widths = [_columns(one) for one, _ in pairs]
    width = sorted(widths)[len(widths) * 9 // 10]
    if not _NARROWEST <= width <= _WIDEST:
        return False
    filled = (
        width - 1 - _first_part(word) < columns <= width + _BEYOND
        and not one.endswith(_SENTENCE_MARKS)
        for (one, word), columns in zip(pairs, widths, strict=True)
    )
    return sum(filled) >= _FILLED * len(pairs)


def _columns(text: str) -> int:
    return len(text) if text.isascii() else len(text) + sum(map(_is_wide, text))


def _is_wide(letter: str) -> bool:
    return east_asian_width(letter) in "WF"


def _first_part(word: str) -> int:
    """Returns the columns that a word needs: where a line may end at any character, of one of them.

    A punctuation mark stays with the character before it.
    """
    return 4 if _is_wide(word[0]) else len(word)


def joined(block: list[str]) -> str:
    """Returns the lines as one: a hyphen that ends a line stays, without a space after it.

    Whether it belongs to the word ("well-known") is not told by the text. A soft hyphen does not,
    and is deleted. Between two characters of a script without spaces there is none.
    """
    text = block[0]
    for line in block[1:]:
        if text.endswith("\u00ad"):
            text = text[:-1] + line
        elif _is_wide(text[-1]) and _is_wide(line[0]):
            text += line
        else:
            broken = _BROKEN_WORD.fullmatch(text[-2:]) and line[0].islower()
            text += line if broken else f" {line}"
    return text
