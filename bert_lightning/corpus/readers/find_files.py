"""Which files `data.path` names, and what is left out of a folder.

`os.path` is asked for what exists: it answers where `Path` raises for lack of a permission.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from glob import escape, glob
from pathlib import Path

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus.readers.find_remote import remote_files
from bert_lightning.corpus.readers.kinds import OTHERS, TextFile, content_of, is_meant
from bert_lightning.corpus.readers.left_out import HIDDEN, LeftOut, announce, shown
from bert_lightning.corpus.readers.storage.opening import File
from bert_lightning.errors import UserError

_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ADDRESS = re.compile(r"\w[\w+.-]+://")
_UNREADABLE = "files and folders that cannot be read"


def find_text_files(data: CorpusConfig, left_out: LeftOut) -> list[TextFile]:
    """Returns the files that `data.path` names, sorted, and counts what of it is left out.

    It names a file, a folder or a pattern of both, on a disk or at an address that fsspec reads. Of
    a folder all files are taken that `is_meant`, those of its subfolders and behind links too, each
    once.
    """
    if data.path is None:
        raise UserError(
            "data=text needs the text: data.path='notes/*.txt' names a file, a folder or a pattern"
        )
    guessed, unnamed = LeftOut(), LeftOut()
    find = remote_files if _ADDRESS.match(data.path) else _local_files
    found: Sequence[File] = find(data.path, left_out, unnamed)
    files = [TextFile(file, content_of(file, guessed)) for file in found]
    announce(unnamed, "Read as what their first bytes say")
    announce(guessed, "Not read as plain text")
    if not files:
        left = "".join(f"; left out: {omission}" for omission in left_out) or f"; {OTHERS}"
        where = data.path if find is remote_files else Path(data.path).absolute()
        raise UserError(f"data.path={shown(data.path)}: no text in {shown(where)}{left}")
    return files


def _local_files(path: str, left_out: LeftOut, unnamed: LeftOut) -> list[Path]:
    """Returns files of disks: each once, whatever links lead to it."""
    found: list[Path] = []
    for named in _named(path, left_out):
        if os.path.isdir(named):
            found += _files_below(named, left_out, unnamed)
        elif _is_file(named, left_out):
            found.append(named)
    files: dict[object, Path] = {}
    for file in sorted(set(found)):
        state = file.stat()
        hard_linked = state.st_nlink > 1  # only then can an inode be trusted on every file system
        place = (state.st_dev, state.st_ino) if hard_linked else os.path.realpath(file)
        if place in files:
            left_out.add("links to files that are read already", shown(file))
        else:
            files[place] = file
    return list(files.values())


def _named(path: str, left_out: LeftOut) -> list[Path]:
    """Returns the paths that exist: the one that is given, or those of a pattern."""
    whole = os.path.expanduser(path)
    found = [Path(whole)] if os.path.lexists(whole) else _matching(Path(whole), left_out)
    if not found:
        raise UserError(
            f"data.path={shown(path)}: nothing at {shown(Path(whole).absolute())} "
            f"(the working directory is {shown(Path.cwd())}); give a file, a folder of .txt files, "
            "or a pattern in quotes"
        )
    return found


def _matching(pattern: Path, left_out: LeftOut) -> list[Path]:
    """Returns what matches a pattern; `**` stands for a folder and all below it, links included.

    The standard library's `**` follows links in circles.
    """
    if "**" not in pattern.parts:
        return [Path(name) for name in glob(str(pattern))]
    place = pattern.parts.index("**")
    rest = pattern.parts[place + 1 :] or ("*",)
    roots = _matching(Path(*pattern.parts[:place]), left_out) if place else [Path()]
    below = [found for root in roots if os.path.isdir(root) for found, _ in _walk(root, left_out)]
    found = [path for root in below for path in _matching(Path(escape(str(root)), *rest), left_out)]
    return [path for path in found if not os.path.isdir(path)]


def _files_below(folder: Path, left_out: LeftOut, unnamed: LeftOut) -> Iterator[Path]:
    for _, paths in _walk(folder, left_out):
        for path in paths:
            if _is_file(path, left_out) and is_meant(path, left_out, unnamed):
                yield path


def _walk(folder: Path, left_out: LeftOut) -> Iterator[tuple[Path, list[Path]]]:
    """Yields each folder from here on once, with what it holds beside other folders."""
    waiting, seen = [folder], {os.path.realpath(folder)}
    while waiting:
        folder, others = waiting.pop(), []
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            left_out.add(_UNREADABLE, f"{shown(folder)}: {error.strerror}")
            continue
        for path in entries:
            if path.name.startswith("."):
                left_out.add(HIDDEN, shown(path), "data.path=NAME reads one")
            elif not os.path.isdir(path):
                others.append(path)
            elif os.path.realpath(path) in seen:
                left_out.add("links to folders that are read already", shown(path))
            else:
                seen.add(os.path.realpath(path))
                waiting.append(path)
        yield folder, others


def _is_file(path: Path, left_out: LeftOut) -> bool:
    """Whether this is a file that can be read; if not, it is left out."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = "links that lead nowhere" if os.path.islink(path) else _UNREADABLE
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
