"""Minimal pairs: whether a model finds the good sentence of a pair likelier than the bad one.

The format and the accuracy are BLiMP's (Warstadt et al., 2020,
https://arxiv.org/abs/1912.00582); the score of a sentence is its pseudo-log-likelihood.
"""

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bert_lightning.batch import UNK
from bert_lightning.errors import UserError
from bert_lightning.evaluation.lines import numbered_lines
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.pseudo_likelihood import PseudoLikelihood
from bert_lightning.work import tracked

SENTENCES = ("sentence_good", "sentence_bad")
GROUPS = ("field", "linguistics_term", "UID")
"""BLiMP's names for the phenomenon of a pair, from wide to narrow."""
CHANCE = 0.5
"""The accuracy of a model that guesses."""
_PAIRS_PER_BATCH = 64


class MinimalPair(NamedTuple):
    """Two sentences that differ in the tested phenomenon."""

    good: str
    bad: str
    groups: dict[str, str]
    """The value of each of `GROUPS` that the file states."""
    where: str
    """File and line, for messages."""


class Judgment(NamedTuple):
    """A model's judgment of a pair."""

    correct: float
    """1 if the good sentence is likelier, 0 if the bad one is, ½ if the tokens are the same."""
    same: bool
    """Whether both are the same tokens: words that differ may both be `[UNK]`."""
    unknown: bool
    """Whether a sentence contains `[UNK]`."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy on some pairs."""

    pairs: int
    accuracy: float
    standard_error: float
    """√(p (1 - p) / pairs)"""
    same: int
    """Pairs of the same tokens, each counted as half right."""
    unknown: int
    """Pairs that contain `[UNK]`."""
    known_accuracy: float | None
    """That on the other pairs; None if there are none."""


@dataclass(frozen=True)
class MinimalPairsResult:
    """The accuracies of a model, beside that of a guess."""

    model: str
    chance: float
    all: Accuracy
    groups: dict[str, dict[str, Accuracy]]
    """By each of `GROUPS` in the file, then by its values in the order of the file."""


def pair_files(path: Path) -> list[Path | zipfile.Path]:
    """Returns the .jsonl files that a path names: itself, or those of a .zip or of a folder.

    A folder without any may hold them in a .zip, as BLiMP's authors publish them.

    Raises:
        UserError: a folder or a .zip has none, or the .zip cannot be read.
    """
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return [path]
    found: list[Path | zipfile.Path] = [*sorted(path.rglob("*.jsonl"))]
    zips = sorted(path.rglob("*.zip")) if path.is_dir() else [path]
    if not found:
        found += [member for file in zips for member in _zipped(file)]
    if not found:
        wanted = " and ".join(SENTENCES)
        raise UserError(f"{path.absolute()} has no .jsonl file: name one with {wanted}")
    return found


def _zipped(path: Path) -> list[zipfile.Path]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path.absolute()} cannot be read as a .zip: {error}") from error
    names = (name for name in archive.namelist() if not name.startswith("__MACOSX"))
    return [zipfile.Path(archive, name) for name in sorted(names) if name.endswith(".jsonl")]


def read_pairs(path: Path | zipfile.Path) -> list[MinimalPair]:
    """Reads a .jsonl file of `SENTENCES`; a UserError names a line that is malformed."""
    pairs = [_parse(line, f"{path}, line {number}") for number, line in numbered_lines(path)]
    if not pairs:
        raise UserError(f"{path} is empty: it needs a JSON object in each line")
    return pairs


def _parse(line: str, where: str) -> MinimalPair:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}): each line must be one object") from error
    if not isinstance(entry, dict):
        kind, wanted = type(entry).__name__, " and ".join(SENTENCES)
        raise UserError(f"{where} holds a {kind}, but must be an object with {wanted}")
    for name in SENTENCES:
        if name not in entry:
            raise UserError(f"{where} has no {name}; its fields are {', '.join(entry) or 'none'}")
        if not isinstance(entry[name], str):
            raise UserError(f"{where}: {name} is {json.dumps(entry[name])}, but must be a text")
    groups = {name: str(entry[name]) for name in GROUPS if name in entry}
    return MinimalPair(entry["sentence_good"], entry["sentence_bad"], groups, where)


def judge(
    bert: PretrainedBert, pairs: Sequence[MinimalPair], *, truncate: bool = False
) -> list[Judgment]:
    """Compares both sentences of each pair; a UserError names one that cannot be scored."""
    judged, starts = [], range(0, len(pairs), _PAIRS_PER_BATCH)
    for start in tracked(starts, len(starts), "scoring"):
        for good, bad in _scored(bert, pairs[start : start + _PAIRS_PER_BATCH], truncate):
            same = good.tokens == bad.tokens
            correct = 0.5 if same else float(good.total > bad.total)
            judged.append(Judgment(correct, same, UNK in good.tokens or UNK in bad.tokens))
    return judged


def _scored(
    bert: PretrainedBert, pairs: Sequence[MinimalPair], truncate: bool
) -> list[tuple[PseudoLikelihood, PseudoLikelihood]]:
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    try:
        found = bert.pseudo_likelihoods(sentences, truncate=truncate)
    except UserError:
        for place, sentence in enumerate(sentences):  # finds the sentence for the message
            try:
                bert.pseudo_likelihoods([sentence], truncate=truncate)
            except UserError as error:
                where = f"{pairs[place // 2].where}, {SENTENCES[place % 2]}"
                raise UserError(f"{where}: {error}") from error
        raise
    return list(zip(found[::2], found[1::2], strict=True))


def summarize(
    model: str, pairs: Sequence[MinimalPair], judged: Sequence[Judgment]
) -> MinimalPairsResult:
    """Returns the accuracy on all pairs and on each group."""
    groups: dict[str, dict[str, list[Judgment]]] = {}
    for pair, one in zip(pairs, judged, strict=True):
        for name, value in pair.groups.items():
            groups.setdefault(name, {}).setdefault(value, []).append(one)
    by_group = {
        name: {value: _accuracy(members) for value, members in groups[name].items()}
        for name in GROUPS
        if name in groups
    }
    return MinimalPairsResult(model, CHANCE, _accuracy(judged), by_group)


def _accuracy(judged: Sequence[Judgment]) -> Accuracy:
    count = len(judged)
    correct, same, unknown = (sum(values) for values in zip(*judged, strict=True))
    known = [one.correct for one in judged if not one.unknown]
    accuracy = correct / count
    return Accuracy(
        count,
        accuracy,
        math.sqrt(accuracy * (1 - accuracy) / count),
        same,
        unknown,
        sum(known) / len(known) if known else None,
    )
