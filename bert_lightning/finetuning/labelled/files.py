"""Which file holds which split, by the names of the files in a folder, and what each file holds."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bert_lightning.config.task import LabelledConfig, TaskKind
from bert_lightning.corpus.readers.kinds import ENDINGS, TextFile, begins_as, ending_of
from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.lines import open_text
from bert_lightning.corpus.readers.storage.compression import ending_of_archive
from bert_lightning.errors import UserError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel"),
    "test": ("test",),
}
"""The words of a file's name that say which split it holds: `stsb-en-dev.csv`."""
WORD_ENDINGS = (
    *(".conll", ".conllu", ".conll03", ".iob", ".iob2", ".bio", ".bioes", ".ner", ".pos", ".tags"),
    ".annotated",
)
"""Endings of files with a labelled word on each line; `.txt` and `.tsv` may hold such, too."""
_MOST_SHOWN = 6


def find_splits(data: LabelledConfig) -> tuple[dict[str, Path], list[str]]:
    """Returns the file of each split that has one, and sentences about those that are not read.

    Raises:
        UserError: there is no such file or folder, or several files could be a split.
    """
    assert data.path is not None
    path = _existing(data.path, "data.path")
    found, notes = _of_folder(path, data) if path.is_dir() else _of_file(path, data)
    for split, given in (("validation", data.validation_path), ("test", data.test_path)):
        if given is not None:
            found[split] = _existing(given, f"data.{split}_path")
    for split, file in found.items():
        for other, same in found.items():
            if split < other and file.samefile(same):
                raise UserError(
                    f"{shown(file.absolute())} is both the {split} split and the {other} split: "
                    "give each split a file of its own, or omit one to hold it out of train"
                )
    return {split: found[split] for split in SPLITS if split in found}, notes


def named_splits(name: str) -> list[str]:
    """Returns the splits that the words of a name stand for."""
    words = re.split(r"[\W_]+", name.lower())
    return [split for split, known in SPLITS.items() if any(word in known for word in words)]


def holds_words(path: Path) -> bool:
    """Whether a file, if it has labelled words, has one on each line."""
    return _holds(path) in ("text", "tsv", "wikiextractor")


def what_it_holds(path: Path, kind: TaskKind) -> TextFile:
    """Returns a file and what kind of table it holds.

    Raises:
        UserError: it is none; `kind` is that of the task, for the message.
    """
    ending, name, holds = ending_of(path), shown(path.absolute()), _holds(path)
    if holds in ("csv", "tsv", "json", "parquet"):
        return TextFile(path, holds)
    if ending in WORD_ENDINGS:
        raise UserError(
            f"{name} holds a labelled word on each line, by its ending, and task={kind.value} "
            "labels texts: use task=tokens, or a table (.csv, .tsv, .jsonl or .parquet)"
        )
    with open_text(path) as stream:
        if "\t" in next((line for line in stream if line.strip()), ""):
            return TextFile(path, "tsv")
    raise UserError(
        f"{name} is no table, as its first line has no tab: write labelled texts as .csv, .tsv, "
        ".jsonl or .parquet"
    )


def _holds(path: Path) -> str:
    ending = ending_of(path)
    holds = ENDINGS.get(ending, "text")
    return begins_as(path) if holds == "text" and ending not in WORD_ENDINGS else holds


def expanded(path: str) -> Path:
    """Returns a path with the home folder in place of ~."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 -- Path's raises RuntimeError for ~nobody


def _existing(path: str, option: str) -> Path:
    found = expanded(path)
    if not (found.is_file() or (option == "data.path" and found.is_dir())):
        kinds = {found.is_dir(): "is a folder", not found.exists(): "does not exist"}
        what = kinds.get(True, "is no file that can be read twice")
        raise UserError(
            f"{option}={shown(path)}: {shown(found.absolute())} {what} (the working directory is "
            f"{shown(Path.cwd())}); give a file of labelled examples"
            + (", a folder with train, dev and test, or data.hub_repository=…")
            * (option == "data.path")
        )
    return found


def _of_file(path: Path, data: LabelledConfig) -> tuple[dict[str, Path], list[str]]:
    notes = []
    beside: list[Path] = []
    with suppress(OSError):
        beside = sorted(path.parent.iterdir())
    for other in beside:
        common, splits = _without_split(other), named_splits(_stem(other))
        option = f"{splits[0]}_path" if splits else ""
        if common and common == _without_split(path) and getattr(data, option, "") is None:
            notes.append(
                f"Beside {shown(path.name)} lies {shown(other.name)}, which is not read: "
                f"data.{option}={shown(other)} reads it."
            )
    return {"train": path}, notes


def _of_folder(folder: Path, data: LabelledConfig) -> tuple[dict[str, Path], list[str]]:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    except OSError as error:
        raise UserError(
            f"data.path={shown(str(data.path))}: {shown(folder.absolute())} cannot be read: "
            f"{error.strerror or error}"
        ) from error
    readable = [path for path in files if ending_of(path) in (*ENDINGS, *WORD_ENDINGS)]
    by_split = {
        split: [p for p in readable if named_splits(_stem(p)) == [split]] for split in SPLITS
    }
    if not by_split["train"] and len(readable) == 1:
        by_split["train"] = readable
    found = {}
    for split, candidates in by_split.items():
        option = "path" if split == "train" else f"{split}_path"
        given = getattr(data, option) if split != "train" else None
        if len(candidates) > 1 and given is None:
            raise UserError(
                f"data.path={shown(str(data.path))}: several files of {shown(folder.absolute())} "
                f"could be the {split} split: {_shown(candidates)}; data.{option}=FILE names one"
            )
        if candidates and given is None:
            found[split] = candidates[0]
    if not by_split["train"]:
        raise UserError(
            f"data.path={shown(str(data.path))}: no file of {shown(folder.absolute())} is named "
            f"train, as train.csv is; it has {_shown(files) or 'no file'}: data.path=FILE names one"
        )
    unread = [path for path in files if path not in found.values()]
    return found, [f"Not read: {_shown(unread)}."] * bool(unread)


def _stem(path: Path) -> str:
    """Returns a file's name without its ending, also where it is compressed."""
    name = path.name
    return name[: len(name) - len(ending_of_archive(name))].rpartition(".")[0] or name


def _without_split(path: Path) -> tuple[list[str], str] | None:
    """Returns what the files of the splits of one data set have in common, None for others."""
    words = re.split(r"[\W_]+", _stem(path).lower())
    rest = [word for word in words if not named_splits(word)]
    return (rest, ending_of(path)) if len(rest) < len(words) else None


def _shown(paths: Sequence[Path]) -> str:
    names = ", ".join(shown(path.name) for path in paths[:_MOST_SHOWN])
    return names + ", …" * (len(paths) > _MOST_SHOWN)
