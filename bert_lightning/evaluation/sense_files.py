"""Sentences with a word in them, and the sense that it has there.

Two forms are read. Lines of your own: `sense<TAB>sentence`, or sentences alone. And CoarseWSD-20's
(Loureiro et al., 2021, https://doi.org/10.1162/coli_a_00405): `position<TAB>tokens` in
`NAME.data.txt`, with the numbers of the senses in `NAME.gold.txt` and, if it is there, their names
in `classes_map.txt`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_lightning.errors import UserError
from bert_lightning.evaluation.lines import numbered_lines

DATA, GOLD, NAMES = ".data.txt", ".gold.txt", "classes_map.txt"


class Occurrence(NamedTuple):
    """A word in a sentence."""

    sentence: str
    sense: str | None
    position: int | None
    """The word's place, from 0, between spaces; None for the first place where it occurs."""
    where: str
    """File and line, for messages."""


def read_occurrences(path: Path) -> list[Occurrence]:
    """Reads a file of sentences; a UserError names a line that is malformed."""
    lines = numbered_lines(path)
    if not lines:
        raise UserError(
            f"{path.absolute()} is empty: it needs sense<TAB>sentence, or a sentence, in each line"
        )
    if path.name.endswith(DATA):
        return _coarse(path, lines)
    found = [_own(line, f"{path}, line {number}") for number, line in lines]
    labelled = found[0].sense is not None
    for one in found:
        if (one.sense is not None) is not labelled:
            has, first = ("a", "none") if one.sense is not None else ("no", "one")
            raise UserError(
                f"{one.where} has {has} sense before a tab, and the first line has {first}: "
                "write sense<TAB>sentence in every line, or sentences alone"
            )
    return found


def _own(line: str, where: str) -> Occurrence:
    sense, tab, sentence = line.partition("\t")
    if not tab:
        return Occurrence(line.strip(), None, None, where)
    if not sense.strip() or not sentence.strip():
        missing = "sense before" if not sense.strip() else "sentence after"
        raise UserError(f"{where} has no {missing} its tab: write sense<TAB>sentence")
    return Occurrence(sentence.strip(), sense.strip(), None, where)


def _coarse(path: Path, lines: Sequence[tuple[int, str]]) -> list[Occurrence]:
    gold = path.with_name(path.name.removesuffix(DATA) + GOLD)
    senses = numbered_lines(gold)
    if len(senses) != len(lines):
        raise UserError(
            f"{gold} has {len(senses)} senses, but {path} has {len(lines)} sentences: "
            "each line is the sense of the sentence in the same line"
        )
    names = _names(path.with_name(NAMES))
    found = []
    for (number, line), (gold_number, sense) in zip(lines, senses, strict=True):
        if names is not None and sense.strip() not in names:
            raise UserError(
                f"{gold}, line {gold_number}: '{sense.strip()}' is not in {NAMES}, which has "
                f"{', '.join(names)}"
            )
        name = sense.strip() if names is None else names[sense.strip()]
        where = f"{path}, line {number}"
        position, tab, sentence = line.partition("\t")
        if not tab or not position.isdecimal():
            raise UserError(
                f"{where} does not start with a position and a tab: *{DATA} is CoarseWSD-20's "
                "format; give a file with sense<TAB>sentence another name"
            )
        count = len(sentence.split())
        if int(position) >= count:
            raise UserError(
                f"{where}: position {position} is out of range; the sentence has {count} tokens, "
                f"0 to {count - 1}"
            )
        found.append(Occurrence(sentence, name, int(position), where))
    return found


def _names(path: Path) -> dict[str, str] | None:
    """Returns the names of the senses by their numbers, None without a file of them."""
    if not path.exists():
        return None
    text = "\n".join(line for _, line in numbered_lines(path))
    try:
        names = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): it must be an object of names") from error
    if not isinstance(names, dict):
        raise UserError(f'{path} must be an object of names, such as {{"0": "bird"}}')
    return {number: str(name) for number, name in names.items()}
