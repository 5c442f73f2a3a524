"""Which files `data.path` names, what each of them holds, and what is left out of a folder."""

import errno
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import NamedTuple

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.readers.left_out import LeftOut, announce, shown
from bert_lightning.errors import UserError

ENDINGS = {
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
"""What files hold, by their endings, in capitals or not; `.gz` may follow."""
_BEGINNINGS = {
    "json": re.compile(rb'(?:\xef\xbb\xbf)?(?:\[\s*\{\s*|\{[ \t]*)"[^"\n]*"\s*:'),
    "wikiextractor": re.compile(rb'(?:\xef\xbb\xbf)?<doc id="'),
    "parquet": re.compile(rb"PAR1"),
}
"""What files hold that no ending of a table names, by their first bytes; others hold text. JSON of
another form, such as an object over many lines, is no table."""
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_OTHERS = (
    f"of a folder, {', '.join(ENDINGS)} are read, also with .gz; a pattern such as "
    "data.path='FOLDER/*' reads files of any name"
)
_UNREADABLE = "files and folders that cannot be read"


class TextFile(NamedTuple):
    """A file of text, and how it is read."""

    path: Path
    holds: str
    """`text`, `csv`, `tsv`, `json`, `parquet` or `wikiextractor`."""


def find_text_files(data: CorpusConfig, left_out: LeftOut) -> list[TextFile]:
    """Returns the files that `data.path` names, sorted, and counts what of it is left out.

    It names a file, a folder or a pattern of both. Of a folder all files with one of `ENDINGS` are
    taken, those of its subfolders and behind links too, each once.
    """
    if data.path is None:
        raise UserError(
            "data=text needs the text: data.path='notes/*.txt' names a file, a folder or a pattern"
        )
    found: list[Path] = []
    for path in _named(data.path):
        if os.path.isdir(path):  # noqa: PTH112 -- Path's raises a few errors
            found += _files_below(path, left_out)
        elif _is_file(path, left_out):
            found.append(path)
    files: dict[tuple[int, int], TextFile] = {}
    guessed = LeftOut()
    for path in sorted(set(found)):
        state = path.stat()
        if (state.st_dev, state.st_ino) in files:
            left_out.add("links to files that are read already", shown(path))
        else:
            files[state.st_dev, state.st_ino] = TextFile(path, _content_of(path, guessed))
    announce(guessed, "Not read as plain text")
    if not files:
        left = "".join(f"; left out: {omission}" for omission in left_out) or f"; {_OTHERS}"
        raise UserError(
            f"data.path={shown(data.path)}: no text in {shown(Path(data.path).absolute())}{left}"
        )
    return list(files.values())


def _named(path: str) -> list[Path]:
    """Returns the paths that exist: the one that is given, or those of a pattern."""
    whole = os.path.expanduser(path)  # noqa: PTH111 -- Path's raises RuntimeError for ~nobody
    names = [whole] if os.path.lexists(whole) else sorted(glob(whole, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute pattern
    if not names:
        address = re.match(r"(\w\w+):/", path)
        raise UserError(
            f"data.path={shown(path)}: nothing at {shown(Path(whole).absolute())} "
            f"(the working directory is {shown(Path.cwd())}); give a file, a folder of .txt files, "
            "or a pattern in quotes"
            + f", and no address ({address and address[1]}:)"
            * bool(address)
        )
    return [Path(name) for name in names]


def _files_below(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    waiting, seen = [folder], {_identity(folder)}
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            left_out.add(_UNREADABLE, f"{shown(folder)}: {error.strerror}")
            continue
        for path in entries:
            if path.name.startswith("."):
                left_out.add("hidden files and folders", shown(path), "data.path=NAME reads one")
            elif os.path.isdir(path):  # noqa: PTH112
                if _identity(path) in seen:
                    left_out.add("links to folders that are read already", shown(path))
                else:
                    seen.add(_identity(path))
                    waiting.append(path)
            elif _is_file(path, left_out):
                if _is_text(path):
                    yield path
                else:
                    left_out.add("files of other kinds", shown(path), _OTHERS)


def _is_text(path: Path) -> bool:
    """Whether a file in a folder is meant: by its ending, a file of JSON also by its beginning."""
    ending = _ending(path)
    return ending in ENDINGS and (ending != ".json" or _begins_as(path) == "json")


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _is_file(path: Path, left_out: LeftOut) -> bool:
    """Whether this is a file that can be read; if not, it is left out."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = "links that lead nowhere" if path.is_symlink() else _UNREADABLE
        left_out.add(what, f"{shown(path)}: {error.strerror}")
        return False
    if not stat.S_ISREG(mode):
        kind = _SPECIAL.get(stat.S_IFMT(mode), "no file")
        way_out = "text is read twice, so save it to a file"
        left_out.add("pipes, sockets and devices", f"{shown(path)} is {kind}", way_out)
        return False
    if not os.access(path, os.R_OK):
        left_out.add(_UNREADABLE, f"{shown(path)}: {os.strerror(errno.EACCES)}")
        return False
    return True


def _ending(path: Path) -> str:
    """Returns a file's ending before compression, in small letters: `.txt` for `A.TXT.gz`."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def is_compressed(path: Path) -> bool:
    """Whether a file's ending says that gzip compressed it."""
    return path.suffix.lower() == ".gz"


def _content_of(path: Path, guessed: LeftOut) -> str:
    by_ending = ENDINGS.get(_ending(path), "text")
    if by_ending != "text":
        return by_ending
    content = _begins_as(path)
    if content != "text":
        way_out = "an empty first line makes one plain text"
        guessed.add(f"files that begin as {content} does", shown(path), way_out)
    return content


def _begins_as(path: Path) -> str:
    try:
        with gzip.open(path) if is_compressed(path) else path.open("rb") as stream:
            beginning = stream.read(4096)
    except (OSError, EOFError, zlib.error):  # its reader says what is wrong with it
        return "text"
    found = (name for name, pattern in _BEGINNINGS.items() if pattern.match(beginning))
    return next(found, "text")
