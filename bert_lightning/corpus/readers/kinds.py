"""What a file holds, by the ending of its name or by its first bytes."""

import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from bert_lightning.corpus.readers.left_out import LeftOut, shown

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


class TextFile(NamedTuple):
    """A file of text, and how it is read."""

    path: Path
    holds: str
    """`text`, `csv`, `tsv`, `json`, `parquet` or `wikiextractor`."""
    part: tuple[int, int] | None = None
    """The range of its bytes that is read, or of the row groups of a .parquet; None is all."""


def is_text(path: Path) -> bool:
    """Whether a file in a folder is meant: by its ending, a file of JSON also by its beginning."""
    ending = ending_of(path)
    return ending in ENDINGS and (ending != ".json" or begins_as(path) == "json")


def ending_of(path: Path) -> str:
    """Returns a file's ending before compression, in small letters: `.txt` for `A.TXT.gz`."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def is_compressed(path: Path) -> bool:
    """Whether a file's ending says that gzip compressed it."""
    return path.suffix.lower() == ".gz"


def content_of(path: Path, guessed: LeftOut) -> str:
    """Returns what `TextFile.holds`; a file whose beginning tells is counted as `guessed`."""
    by_ending = ENDINGS.get(ending_of(path), "text")
    if by_ending != "text":
        return by_ending
    content = begins_as(path)
    if content != "text":
        way_out = "an empty first line makes one plain text"
        guessed.add(f"files that begin as {content} does", shown(path), way_out)
    return content


def begins_as(path: Path) -> str:
    """Returns what a file holds by its first bytes, `text` if they say nothing."""
    try:
        with gzip.open(path) if is_compressed(path) else path.open("rb") as stream:
            beginning = stream.read(4096)
    except (OSError, EOFError, zlib.error):  # its reader says what is wrong with it
        return "text"
    found = (name for name, pattern in _BEGINNINGS.items() if pattern.match(beginning))
    return next(found, "text")
