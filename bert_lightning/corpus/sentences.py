"""Paragraph → sentences: the exact rule of tokenized WikiText, rules for prose, and others.

A splitter is a function from a paragraph to its sentences; none of this package downloads anything,
and each one's time is proportional to the length of the paragraph. `data.sentences=module:function`
selects a splitter of your own, marked with `@extension("splitter")`.
"""

import hashlib
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.extensions import find

Splitter = Callable[[str], list[str]]

_OPENING = "\"'“‘„‚«‹([{「『【〈《〔（［｛¿¡"
_END = re.compile(
    r"""
    (?P<marks>[.!?…。！？｡]++)
    (?P<closing>(?:["'”’»›)\]}」』】〉》〕）］｝]|“(?!\S))*+)  # “ closes a quotation in German
    (?P<space>\s*+)
    """,
    re.VERBOSE,
)
"""A possible end of a sentence. No part of the pattern backtracks and nothing is required after the
marks, so each character is read once, whatever the text."""

_CONTINUES = frozenset("とっ、，")
"""After a Japanese closing bracket these continue the sentence: 「はい。」と言った。"""

_NEVER_LAST = re.compile(
    r"mrs?|ms|messrs|dr|prof|st|mt|gen|col|lt|sgt|capt|rev|hon|gov|sen|rep"
    r"|e\.g|i\.e|vs|cf|viz|ca|approx|figs?|eqs?",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(
    r"nos?|pp?|vols?|secs?|ch|art|op|al|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec",
    re.IGNORECASE,
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
    of a list item ("1."). The full-width ``。！？`` need no space after them.
    """
    sentences = []
    start = 0
    for end in _END.finditer(paragraph):
        if _ends_sentence(paragraph, start, end):
            sentences.append(paragraph[start : end.end()])
            start = end.end()
    return _tidy([*sentences, paragraph[start:]])


def _tidy(sentences: list[str]) -> list[str]:
    return [tidy for sentence in sentences if (tidy := " ".join(sentence.split()))]


def _ends_sentence(text: str, start: int, end: re.Match[str]) -> bool:
    following = text[end.end() : end.end() + 1]
    if not following:
        return True
    if any(mark in "。！？｡" for mark in end["marks"]):
        return not (end["closing"] and following in _CONTINUES)
    capital = following.isalpha() and not following.islower()
    if not end["space"] or not (capital or following.isdigit() or following in _OPENING):
        return False
    return end["marks"] != "." or bool(end["closing"]) or not _is_abbreviation(text, start, end)


def _is_abbreviation(text: str, start: int, end: re.Match[str]) -> bool:
    """Whether the single period at `end` belongs to the word before it."""
    dot = end.start()
    near = text[max(start, dot - _LONGEST) : dot]
    if not near or near[-1].isspace():
        return False
    if dot - start < _LONGEST and near.strip().isdigit():
        return True
    word = near.split()[-1].lstrip(_OPENING)
    following = text[end.end()]
    if _NEVER_LAST.fullmatch(word):
        return True
    if _BEFORE_NUMBER.fullmatch(word):
        return following.isdigit() or following in "(["
    initials = _INITIALS.fullmatch(word) is not None and word.isupper()
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
    if name == "pysbd":
        return metadata.version("pysbd")
    own = sys.modules[name.split(":")[0]].__file__ if ":" in name else None
    return hashlib.sha256(Path(own).read_bytes()).hexdigest() if own else ""
