"""What a file holds, by the ending of its name or by its first bytes."""

import re
from contextlib import suppress
from pathlib import PurePath
from typing import NamedTuple

from bert_lightning.corpus.readers.left_out import LeftOut, shown
from bert_lightning.corpus.readers.storage.compression import COMPRESSIONS, ending_of_archive
from bert_lightning.corpus.readers.storage.opening import BEGINNING, File, is_utf8, opened
from bert_lightning.errors import UserError

ENDINGS = {
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".xml": "wikipedia",
}
"""What files hold, by their endings, in capitals or not; that of a compression may follow."""
_BEGINNINGS = {
    "json": re.compile(
        rb'\[\s*\{\s*"[^"\n]*"\s*:|\{[ \t]*"[^"\n]*"\s*:|\{\s*"[^"\n]*"\s*:\s*\[\s*\{'
    ),
    "wikiextractor": re.compile(rb'<doc id="'),
    "wikipedia": re.compile(rb"(?:<\?xml[^>]*>\s*)?<mediawiki[\s>]"),
    "html": re.compile(rb"(?:<\?xml[^>]*>\s*)?<(?:!doctype )?html[\s>]", re.IGNORECASE),
    "parquet": re.compile(rb"PAR1"),
}
"""What files hold that no ending of a table names, by their first bytes; others hold text. JSON is
objects on lines, or a list of objects, also as the first value of an object."""
_OF_MANY_FORMS = {".json": "json", ".xml": "wikipedia"}
"""Endings of files that often hold something else, and what these hold if they are meant."""


OTHERS = (
    f"of a folder, {', '.join(ENDINGS)} are read, also with {', '.join(COMPRESSIONS)}, and text "
    "without an ending; a pattern such as data.path='FOLDER/*' reads files of any name"
)


class TextFile(NamedTuple):
    """A file of text, and how it is read."""

    path: File
    holds: str
    """A value of `ENDINGS`, or `wikiextractor`."""
    part: tuple[int, int] | None = None
    """The range of its bytes that is read, or of the row groups of a .parquet; None is all."""


def is_meant(file: File, left_out: LeftOut, unnamed: LeftOut) -> bool:
    """Whether a file of a folder is read: by its ending, in some cases also by its first bytes.

    If not, it is counted as left out; one without an ending that is read is counted as `unnamed`.
    """
    ending = ending_of(file)
    if ending in ENDINGS and _OF_MANY_FORMS.get(ending) in (None, begins_as(file)):
        return True
    if ending:
        left_out.add("files of other kinds", shown(file), OTHERS)
    elif begins_as(file) != "text" or is_utf8(_first_bytes(file)):
        unnamed.add("files without an ending", shown(file), "'FOLDER/**/*.txt' reads .txt alone")
        return True
    else:
        left_out.add("files without an ending that hold no UTF-8 text", shown(file))
    return False


def ending_of(file: File) -> str:
    """Returns a file's ending before compression, in small letters: `.txt` for `A.TXT.gz`."""
    name = file.name.lower()
    return PurePath(name.removesuffix(ending_of_archive(name))).suffix


def content_of(file: File, guessed: LeftOut) -> str:
    """Returns what `TextFile.holds`; a file whose beginning tells is counted as `guessed`."""
    by_ending = ENDINGS.get(ending_of(file), "text")
    if by_ending != "text":
        return by_ending
    content = begins_as(file)
    if content != "text":
        way_out = "an empty first line makes one plain text"
        guessed.add(f"files that begin as {content} does", shown(file), way_out)
    return content


def begins_as(file: File) -> str:
    """Returns what a file holds by its first bytes, `text` if they say nothing."""
    beginning = _first_bytes(file).removeprefix(b"\xef\xbb\xbf")
    found = (name for name, pattern in _BEGINNINGS.items() if pattern.match(beginning))
    return next(found, "text")


def _first_bytes(file: File) -> bytes:
    with suppress(UserError), opened(file) as stream:  # its reader says what is wrong with it
        return stream.read(BEGINNING)
    return b""
