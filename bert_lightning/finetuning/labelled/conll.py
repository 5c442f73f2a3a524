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

from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.lines import read_lines
from bert_lightning.corpus.readers.table_files import Row
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.tables import Table

CONLL_U = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
"""The columns of CoNLL-U (universaldependencies.org/format.html)."""
_DOCUMENT = "-DOCSTART-"
_RANGE = re.compile(r"\d+[-.]\d+")
"""The number of a word that is divided into the next ones, or of one that is not written."""

_Line = tuple[int, tuple[str, ...]]
"""The number of a line and its cells; none, if it is blank."""


def conll_table(file: Path, columns: Sequence[str]) -> Table:
    """Reads a file of words; `columns` names its columns, which else are named by their numbers.

    Raises:
        UserError: a line has more or fewer columns than the others.
    """
    name = shown(file.absolute())
    lines, by_tabs = _lines(file)
    widths = Counter(len(cells) for _, cells in lines if cells and not cells[0].startswith("#"))
    width = widths.most_common(1)[0][0] if widths else 0
    lines, comments = _without_comments(lines, width, by_tabs)
    sentences = [list(block) for is_row, block in groupby(lines, _is_word) if is_row]
    if not sentences:
        raise UserError(f"{name} is empty: it needs a word and its label on each line")
    notes = [f"lines of comments are left out: {comments:,}."] * bool(comments)
    is_numbered = width >= 3 and all(map(_is_running, sentences))
    if is_numbered:
        sentences, ranges = _without_ranges(sentences)
        notes += [
            f"lines with numbers such as 2-3 or 2.1, as in CoNLL-U, are left out: {ranges:,}."
        ] * bool(ranges)
    _require_width(name, sentences, width, widths[width])
    names, word, tag = _names(name, columns, width, is_numbered)

    def rows(wanted: Sequence[str]) -> Iterator[Row]:
        places = [names.index(column) for column in wanted]
        for block in sentences:
            yield Row(
                f"line {block[0][0]}", [[cells[place] for _, cells in block] for place in places]
            )

    return Table(name, names, rows, word, tag, tuple(notes))


def _lines(file: Path) -> tuple[list[_Line], bool]:
    """Returns the lines of a file, and whether tabs separate their cells, as in most, or blanks."""
    lines = list(read_lines(file))
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    by_tabs = 2 * sum("\t" in line.strip() for line in rows) > len(rows)
    return [(number, _cells(line, by_tabs)) for number, line in enumerate(lines, 1)], by_tabs


def _cells(line: str, by_tabs: bool) -> tuple[str, ...]:
    if not line.strip():
        return ()
    return tuple([cell.strip() for cell in line.split("\t")] if by_tabs else line.split())


def _is_word(line: _Line) -> bool:
    return line[1][:1] not in ((), (_DOCUMENT,))


def _without_comments(lines: list[_Line], width: int, by_tabs: bool) -> tuple[list[_Line], int]:
    """Returns the lines without comments, and how many those were.

    A line that begins with # is one, unless it labels the word #, or one such as #photo: it has as
    many columns as the others, and no blank in the first; or, if blanks separate columns, one of
    them is as in another line.
    """
    rows = (cells for _, cells in lines if cells and not cells[0].startswith("#"))
    known = {cell for cells in rows for cell in enumerate(cells[1:])} | {(width - 2, "#")}

    def is_comment(cells: tuple[str, ...]) -> bool:
        if not cells or not cells[0].startswith("#"):
            return False
        if len(cells) != width:
            return True
        return " " in cells[0] if by_tabs else known.isdisjoint(enumerate(cells[1:]))

    kept = [line for line in lines if not is_comment(line[1])]
    return kept, len(lines) - len(kept)


def _is_running(block: list[_Line]) -> bool:
    """Whether the first column of a sentence numbers its words from 1."""
    numbers = [cells[0] for _, cells in block if not _RANGE.fullmatch(cells[0])]
    return bool(numbers) and numbers == [str(place) for place in range(1, len(numbers) + 1)]


def _without_ranges(sentences: list[list[_Line]]) -> tuple[list[list[_Line]], int]:
    kept = [[line for line in block if not _RANGE.fullmatch(line[1][0])] for block in sentences]
    return kept, sum(map(len, sentences)) - sum(map(len, kept))


def _require_width(name: str, sentences: list[list[_Line]], width: int, usual: int) -> None:
    for number, cells in (line for block in sentences for line in block):
        if len(cells) != width:
            raise UserError(
                f"{name}, line {number}: '{' '.join(cells)[:60]}' has {len(cells)} columns, and "
                f"{usual:,} lines have {width}: each line needs a word and its label, and a blank "
                "line ends a sentence"
            )


def _names(
    name: str, columns: Sequence[str], width: int, is_numbered: bool
) -> tuple[list[str], str | None, str | None]:
    """Returns the names of the columns, and which of them are the words and the labels."""
    if columns and len(columns) != width:
        raise UserError(
            f"data.columns=[{','.join(columns)}] names {len(columns)} columns, and {name} has "
            f"{width}"
        )
    if columns:
        return list(columns), None, None
    if is_numbered and width == len(CONLL_U):
        return CONLL_U, "form", "upos"
    names = [str(number) for number in range(1, width + 1)]
    if is_numbered:
        return names, names[1], names[2]
    return names, names[0], names[-1] if width > 1 else None
