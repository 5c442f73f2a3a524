"""Paragraph → sentences: the exact rule of tokenized WikiText, rules for prose, and others.

A splitter is a function from a paragraph to its sentences; none of this package downloads anything,
and each one's time is proportional to the length of the paragraph. `data.sentences=module:function`
selects a splitter of your own, marked with `@extension("splitter")`.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any, cast

from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.extensions import code_version, find

Splitter = Callable[[str], list[str]]

_OPENING = "\"'“‘„‚«‹([{「『【〈《〔（［｛¿¡"
_TERMINALS = (
    r"\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a"
    r"\u104b\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945"
    r"\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d-\u1b7f\u1c3b\u1c3c\u1c7e\u1c7f"
    r"\u2cf9-\u2cfb\u2e60\u2e61\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf"
    r"\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe12\ufe15\ufe16\uff01\uff0e\uff1f"
    r"\uff61"
)
"""Unicode's property `Sentence_Terminal`, without the marks that need a space after them."""
_RARE_TERMINALS = (
    r"\U00010a56\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047\U00011048"
    r"\U000110be-\U000110c1\U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de"
    r"\U000111df\U00011238\U00011239\U0001123b\U0001123c\U000112a9\U000113d4\U000113d5\U0001144b"
    r"\U0001144c\U000115c2\U000115c3\U000115c9-\U000115d7\U00011641\U00011642"
    r"\U0001173c-\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c"
    r"\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5"
    r"\U00016b37\U00016b38\U00016b44\U00016d6e\U00016d6f\U00016e98\U0001bc9f\U0001da88"
)
"""The same of the scripts beyond U+FFFF: a search for these too takes five times as long."""
_BEYOND = re.compile("[\U00010000-\U0010ffff]")


def _end(terminals: str) -> re.Pattern[str]:
    return re.compile(
        rf"""
        (?P<marks>[.!?…\u2024‼‽⁇-⁉⸮⸼⹓⹔﹒﹖﹗{terminals}]++)
        (?P<closing>(?:["'”’»›)\]}}」』】〉》〕）］｝]|“(?!\S))*+)  # “ closes a quotation in German
        (?P<space>\s*+)
        """,
        re.VERBOSE,
    )


_END, _RARE_END = _end(_TERMINALS), _end(_TERMINALS + _RARE_TERMINALS)
"""A possible end of a sentence. No part of the pattern backtracks and nothing is required after the
marks, so each character is read once, whatever the text."""
_ASCII_END = re.compile(
    r"(?<![.!?]) (?P<marks>[.!?]++) (?P<closing>[\"')\]}]*+) (?P<space>\s++) (?=[A-Z0-9\"'(\[{])",
    re.VERBOSE,
)
"""The same, for text of ASCII alone, without those that cannot be one for what follows them."""

_ALWAYS_ENDS = re.compile(f"[{_TERMINALS}{_RARE_TERMINALS}]")
_CONTINUES = frozenset("とっ、，")
"""After a Japanese closing bracket these continue the sentence: 「はい。」と言った。"""

_NEVER_LAST = frozenset(
    (
        *("mr", "mrs", "ms", "messrs", "dr", "prof", "st", "mt", "gen", "col"),
        *("lt", "sgt", "capt", "rev", "hon", "gov", "sen", "rep", "e.g", "i.e"),
        *("vs", "cf", "viz", "ca", "approx", "fig", "figs", "eq", "eqs"),
    )
)
_BEFORE_NUMBER = frozenset(
    (
        *("no", "nos", "p", "pp", "vol", "vols", "sec", "secs", "ch", "art", "op", "al"),
        *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
    )
)
"""Abbreviations before a number or a bracket; elsewhere many of them are words ("No.")."""

_INITIALS = re.compile(r"(?:[^\W\d_]\.-?)*[^\W\d_]")
_STARTER = re.compile(
    r"(?:The|This|These|That|Those|It|He|She|They|We|You|In|On|At|But|And|However|If|When)\b"
)
"""Words that begin a new sentence even after initials: "in the U.S. The"."""

_LONGEST = 12
"""More characters than any abbreviation has: the distance that is searched for one."""


def split_wikitext(paragraph: str) -> list[str]:
    """Splits a line of tokenized WikiText at `` . ``: only the last sentence keeps its period."""
    return [sentence for sentence in paragraph.strip().split(" . ") if sentence.strip()]


def split_prose(paragraph: str) -> list[str]:
    """Splits ordinary text into sentences, and replaces each run of whitespace by one space.

    A sentence ends at ``. ! ? …`` and the closing quotes and brackets after it, if whitespace and a
    possible beginning follow: a letter that is not lowercase, a digit, an opening quote or bracket.
    Abbreviations and initials ("Dr.", "e.g.", "J. K.", "U.S.") do not end it, nor does the number
    of a list item ("1."). Marks of other scripts, such as ``。！？ । ؟``, need no space.
    """
    sentences = []
    start = 0
    if paragraph.isascii():
        possible, is_end = _ASCII_END, _is_last
    else:
        possible, is_end = _RARE_END if _BEYOND.search(paragraph) else _END, _ends_sentence
    for end in possible.finditer(paragraph):
        if is_end(paragraph, start, end):
            sentences.append(paragraph[start : end.end()])
            start = end.end()
    sentences.append(paragraph[start:])
    if paragraph.isprintable() and "  " not in paragraph:  # its white space is single spaces
        return [tidy for sentence in sentences if (tidy := sentence.strip())]
    return _tidy(sentences)


def _tidy(sentences: list[str]) -> list[str]:
    return [tidy for sentence in sentences if (tidy := " ".join(sentence.split()))]


def _ends_sentence(text: str, start: int, end: re.Match[str]) -> bool:
    following = text[end.end() : end.end() + 1]
    if not following:
        return True
    if not end["marks"].isascii() and _ALWAYS_ENDS.search(end["marks"]):
        number = end["marks"] == "．" and following.isdigit()
        return not (number or (end["closing"] and following in _CONTINUES))
    if not end["space"]:
        return False
    # Georgian, alone, begins sentences with lowercase letters; its title case is the letter itself.
    capital = following.isalpha() and following in (following.upper(), following.title())
    if not (capital or following.isdigit() or following in _OPENING):
        return False
    return _is_last(text, start, end)


def _is_last(text: str, start: int, end: re.Match[str]) -> bool:
    """Whether the marks at `end`, before a possible beginning, are no period of an abbreviation."""
    marks, closing = end.group("marks", "closing")
    return marks != "." or closing != "" or not _is_abbreviation(text, start, end)


def _is_abbreviation(text: str, start: int, end: re.Match[str]) -> bool:
    """Whether the single period at `end` belongs to the word before it."""
    dot = end.start()
    near = text[max(start, dot - _LONGEST) : dot]
    if not near or near[-1].isspace():
        return False
    if dot - start < _LONGEST and near.strip().isdigit():
        return True
    word = near.split()[-1].lstrip(_OPENING)
    lowercase = word.lower()
    if lowercase in _NEVER_LAST:
        return True
    if lowercase in _BEFORE_NUMBER:
        following = text[end.end()]
        return following.isdigit() or following in "(["
    initials = word.isupper() and _INITIALS.fullmatch(word) is not None
    return initials and not _STARTER.match(text, end.end())


def split_lines(paragraph: str) -> list[str]:
    """Takes the paragraph, which is a line of the text, as one sentence."""
    return _tidy([paragraph])


def split_pysbd(paragraph: str) -> list[str]:
    """Splits English with pySBD's rules (Sadvilkar and Neumann, 2020)."""
    return _tidy(_pysbd_segmenter().segment(paragraph))


@cache
def _pysbd_segmenter() -> Any:
    try:
        import pysbd
    except ImportError as error:
        raise UserError(
            "data.sentences=pysbd needs the package pysbd, which is not installed: "
            "pip install 'bert-lightning[pysbd]', or use data.sentences=prose"
        ) from error
    return pysbd.Segmenter(language="en", clean=False)


SPLITTERS: dict[str, Splitter] = {
    "wikitext": split_wikitext,
    "prose": split_prose,
    "line": split_lines,
    "pysbd": split_pysbd,
}
"""The splitters by their names in `data.sentences`."""


def find_splitter(name: str) -> Splitter:
    """Returns the splitter of that name, which must exist and have the packages that it needs."""
    if ":" in name:
        return cast(Splitter, find("splitter", name, "data.sentences"))
    if name not in SPLITTERS:
        known = ", ".join(SPLITTERS)
        raise UserError(
            f"data.sentences={name} is not one of {known}{did_you_mean(name, SPLITTERS)}; "
            "module:function names one of your own"
        )
    SPLITTERS[name]("")  # fails if its package is missing
    return SPLITTERS[name]


def splitter_version(name: str) -> str:
    """Returns a value that changes when a splitter outside this package does, and "" for others."""
    find_splitter(name)
    return metadata.version("pysbd") if name == "pysbd" else code_version(name)
