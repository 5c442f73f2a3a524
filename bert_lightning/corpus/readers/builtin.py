"""The corpus that is always available: the prose of Python's own reference manual.

CPython contains that manual for `help()`, as plain text that Sphinx rendered, so a run needs
neither a network nor a file. Headings, tables, grammar, signatures and code are omitted. No markup
tells them from prose, only blank lines, indentation and the words of a block.
"""

import re
from collections.abc import Iterator

from bert_lightning.errors import UserError

_STRAIGHT_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_MARKER = re.compile(r"\s*(?:[*-]|\d{1,2}\.|\[\d{1,2}\])\s+")

_COLUMNS = re.compile(r"[^\s:] {3,}\S")
"""The gap between the columns of a table, or before an aligned comment."""
_EMPHASIS = re.compile(r"(?<![\w*\"'])(\*\*?)(?=[^\W\d_]|_)([^*\"]*[^\s*\"])\1(?=s\b|[^\w*]|$)")
_FOOTNOTE = re.compile(r"\s+\[\d{1,2}\](?![\w\"\])])")
_WRAPPED_HYPHEN = re.compile(r"(?<=\w-) (?!(?:and|or|to)\b)(?=\w)")

_FIRST = re.compile(r"[\"'(]*[^\W\d]")
_LAST = re.compile(r"[.:;,!?)\"'\]]$")
_CODE = re.compile(r">>>|::=| = |\w\(\) as \w|^(?:from \w+ import|(?:async )?def) ")
_QUOTED = re.compile(r"\"[^\"]*\"")
_WORD = re.compile(r"[(\[']*[A-Za-z]+(?:[-'/][A-Za-z]+)*[)\]'.,:;!?]*")
_FUNCTION_WORD = re.compile(
    r"\b(?:an?|the|of|to|be|are|was|its?|this|that|these|by|when|which|can|may|must|has|have|does"
    r"|should|will|they|there|then|at|than|used|such|some|each|any|all|also|see|since)\b",
    re.IGNORECASE,
)
"""Words that occur in almost all sentences and in no Python program."""
_FEWEST_WORDS = 4
_FEWEST_WORDS_UNENDED = 12
"""A paragraph this long may lack the final period, as list items do."""
_WORD_FRACTION = 0.6


def builtin_documents() -> list[list[str]]:
    """Returns the manual's prose: one document a topic, each a list of paragraphs.

    Topics come in sorted order. They overlap, and whole documents are held out for validation, so
    a paragraph is kept only in the first topic that has it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError(
            "data.source=builtin needs pydoc_data.topics, Python's own manual, which this Python "
            "came without; use a text of your own: data=text data.path=FILE"
        ) from error
    seen: set[str] = set()
    documents = []
    for _, text in sorted(topics.items()):
        new = [found for found in dict.fromkeys(_paragraphs(text)) if found not in seen]
        seen.update(new)
        if new:
            documents.append(new)
    return documents


def _paragraphs(text: str) -> Iterator[str]:
    for block in _BLANK_LINES.split(text.translate(_STRAIGHT_QUOTES).strip("\n")):
        lines = _body(block.splitlines())
        unwrapped = _WRAPPED_HYPHEN.sub("", " ".join(" ".join(lines).split()))
        paragraph = _FOOTNOTE.sub("", _EMPHASIS.sub(r"\2", unwrapped))
        if not any(map(_COLUMNS.search, lines)) and _reads_as_prose(paragraph):
            yield paragraph


def _body(lines: list[str]) -> list[str]:
    """Returns the block without the marker of a list item, or the term above its definition."""
    if lines and (marker := _MARKER.match(lines[0])):
        return [lines[0][marker.end() :], *lines[1:]]
    indentations = [len(line) - len(line.lstrip()) for line in lines[:2]]
    if len(lines) > 1 and indentations[1] > indentations[0]:
        return lines[1:]
    return lines


def _reads_as_prose(paragraph: str) -> bool:
    """Whether a paragraph is sentences: mostly words, and one like "the"; quotes are ignored."""
    unquoted = _QUOTED.sub(" ", paragraph)
    if not _FIRST.match(paragraph) or _CODE.search(unquoted):
        return False
    parts = unquoted.split()
    words = [part for part in parts if _WORD.fullmatch(part)]
    return (
        len(words) >= (_FEWEST_WORDS if _LAST.search(paragraph) else _FEWEST_WORDS_UNENDED)
        and len(words) >= _WORD_FRACTION * len(parts)
        and _FUNCTION_WORD.search(" ".join(words)) is not None
    )
