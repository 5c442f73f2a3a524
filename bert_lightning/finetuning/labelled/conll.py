"""Labelled words, one a line, as in the files of CoNLL: sentences end at blank lines.

# a comment              1    Wo      O    _        a first column of numbers, as in CoNLL-U
Empire    B-location     2-3  zum     _    _        left out: its words follow
State     I-location     2    zu      O    _
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.lines import read_lines
from bert_lightning.corpus.readers.table_files import Row
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.tables import Table

CONLL_U = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
"""The columns of CoNLL-U (universaldependencies.org/format.html)."""
_DOCUMENT = "-DOCSTART-"
_RUNNING = re.compile(r"\d+")
_RANGE = re.compile(r"\d+[-.]\d+")
"""The number of a word that is divided into the next ones, or of one that is not written."""


class _Line(NamedTuple):
    number: int
    cells: list[str]


def conll_table(file: Path, columns: Sequence[str]) -> Table:
    """Reads a file of words; `columns` names its columns, which else are named by their numbers.

    Raises:
        UserError: a line has more or fewer columns than the others.
    """
    name = shown(file.absolute())
    lines = [(number, line) for number, line in enumerate(read_lines(file), 1)]
    has_tabs = any("\t" in line.strip() for _, line in lines if not line.startswith("#"))
    split = [_Line(number, _cells(line, has_tabs)) for number, line in lines]
    widths = Counter(len(cells) for _, cells in split if cells and not cells[0].startswith("#"))
    width = widths.most_common(1)[0][0] if widths else 0
    split, comments = _without_comments(split, width, has_tabs)
    sentences = [list(block) for is_row, block in groupby(split, _is_word) if is_row]
    if not sentences:
        raise UserError(f"{name} is empty: it needs a word and its label on each line")
    notes = [f"{comments:,} lines of comments are left out."] * bool(comments)
    is_numbered = width >= 3 and all(map(_is_running, sentences))
    if is_numbered:
        kept = [
            [line for line in block if _RUNNING.fullmatch(line.cells[0])] for block in sentences
        ]
        ranges = sum(map(len, sentences)) - sum(map(len, kept))
        notes += [
            f"{ranges:,} lines with numbers such as 2-3 or 2.1 are left out, as in CoNLL-U."
        ] * bool(ranges)
        sentences = kept
    names = _names(name, columns, width, sentences[0][0].number)
    for line in (line for block in sentences for line in block):
        if len(line.cells) != width:
            raise UserError(
                f"{name}, line {line.number}: '{' '.join(line.cells)[:60]}' has "
                f"{len(line.cells)} columns, and {widths[width]:,} lines have {width}: each line "
                "needs a word and its label, and a blank line ends a sentence"
            )
    word, tag = _usual(names, is_numbered) if not columns else (None, None)

    def rows(wanted: Sequence[str]) -> Iterator[Row]:
        places = [names.index(column) for column in wanted]
        for block in sentences:
            cells = [[line.cells[place] for line in block] for place in places]
            yield Row(f"line {block[0].number}", cells)

    return Table(name, names, rows, word, tag, tuple(notes))


def _cells(line: str, has_tabs: bool) -> list[str]:
    if not line.strip():
        return []
    return [cell.strip() for cell in line.split("\t")] if has_tabs else line.split()


def _is_word(line: _Line) -> bool:
    return bool(line.cells) and line.cells[0] != _DOCUMENT


def _without_comments(lines: list[_Line], width: int, has_tabs: bool) -> tuple[list[_Line], int]:
    """Returns the lines without comments, and how many those were.

    A line that begins with # is one, unless it has as many columns as the others; between blanks
    its last must be a label of theirs, too: the word # is labelled, a comment of two words is not.
    """
    labels = {line.cells[-1] for line in lines if line.cells and line.cells[0][:1] != "#"} | {"#"}

    def is_comment(cells: list[str]) -> bool:
        is_row = len(cells) == width and (has_tabs or cells[-1] in labels)
        return cells[:1] != [] and cells[0].startswith("#") and not is_row

    kept = [line for line in lines if not is_comment(line.cells)]
    return kept, len(lines) - len(kept)


def _is_running(block: list[_Line]) -> bool:
    """Whether the first column of a sentence numbers its words from 1."""
    numbers = [line.cells[0] for line in block if not _RANGE.fullmatch(line.cells[0])]
    return bool(numbers) and numbers == [str(place) for place in range(1, len(numbers) + 1)]


def _names(name: str, columns: Sequence[str], width: int, number: int) -> list[str]:
    if not columns:
        is_conll_u = width == len(CONLL_U)
        return CONLL_U if is_conll_u else [str(place) for place in range(1, width + 1)]
    if len(columns) != width:
        raise UserError(
            f"data.columns=[{','.join(columns)}] names {len(columns)} columns, and {name}, line "
            f"{number}, has {width}"
        )
    return list(columns)


def _usual(names: list[str], is_numbered: bool) -> tuple[str, str | None]:
    if names is CONLL_U and is_numbered:
        return "form", "upos"
    if is_numbered:
        return names[1], names[2]
    return names[0], names[-1] if len(names) > 1 else None
