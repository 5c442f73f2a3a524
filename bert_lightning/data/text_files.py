"""Local files → raw documents: lists of paragraphs, not yet split into sentences."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path

from bert_lightning.config import DataConfig, Format
from bert_lightning.data.tables import TABLES, file_rows
from bert_lightning.errors import UserError


def find_text_files(data: DataConfig) -> list[Path]:
    """The files that `data.path` names: itself, all in a folder, or those of a pattern."""
    if data.path is None:
        raise UserError(
            "data=text needs the text: data.path='notes/*.txt' names a file, a folder or a pattern"
        )
    path = Path(data.path).expanduser()
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix in {".txt", *TABLES}]
    elif path.is_file():
        found = [path]
    else:
        names = glob(str(path), recursive=True)  # noqa: PTH207 -- Path.glob takes no absolute one
        found = [Path(name) for name in names if Path(name).is_file()]
    if not found:
        raise UserError(
            f"data.path={data.path}: nothing at {path.absolute()} "
            f"(the working directory is {Path.cwd()}); give a file, a folder of .txt files, "
            "or a pattern in quotes"
        )
    return sorted(found)


def raw_documents(file: Path, data: DataConfig) -> Iterator[list[str]]:
    """Documents as lists of paragraphs; in a table each row is a document."""
    if file.suffix in TABLES:
        for text in file_rows(file, data.text_column):
            yield [line for line in text.split("\n") if line.strip()]
        return
    text = read_utf8(file)
    if not text.strip():
        raise UserError(f"data.path={data.path}: {file.absolute()} is empty (0 words)")
    if data.format is Format.wikitext:
        yield from part_at_headings(text.split("\n"))
        return
    for block in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in block.split("\n") if line.strip()]
        if lines:
            yield [" ".join(lines)] if data.hard_wrapped else lines


def part_at_headings(lines: Iterable[str]) -> list[list[str]]:
    """Paragraphs of each article; ` = Title = ` starts one, ` = = Section = = ` is left out."""
    articles: list[list[str]] = [[]]
    for line in lines:
        text = line.strip()
        if not (text.startswith("= ") and text.endswith(" =")):
            articles[-1].append(line)
        elif not text.startswith("= = "):
            articles.append([])
    return articles


def read_utf8(file: Path) -> str:
    """A file's text, with plain line ends; names the first byte that is not UTF-8."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file.absolute()} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}; "
            f"convert it, for example: iconv -f latin1 -t utf-8 {file.name}"
        ) from error


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
