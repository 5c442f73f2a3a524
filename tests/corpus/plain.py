"""The same, the plain way: encoding sentence by sentence, and reading whole files."""

import csv
import gzip
import io
import json
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import parquet
from tokenizers import Tokenizer

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.corpus.tokenizer import special_id


def encode_plain(tokenizer: Tokenizer, sentences: list[str]) -> list[list[int]]:
    """Returns ids without `[CLS]` and `[SEP]`; special tokens in the text are ordinary text."""
    unknown = special_id(tokenizer, UNK)
    special = {special_id(tokenizer, token) for token in SPECIAL_TOKENS}
    tokenizer.encode_special_tokens = True
    encodings = tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
    tokenizer.encode_special_tokens = False
    return [[unknown if i in special else i for i in encoding.ids] for encoding in encodings]


@dataclass
class PlainFolder:
    """What a folder holds: documents without white space, and what becomes of all the rest."""

    documents: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    """The names of files that no text is taken of, not even in part."""
    left_out: Counter[str] = field(default_factory=Counter)


class _RefusedError(Exception):
    pass


def read_folder_plain(top: Path) -> PlainFolder:
    """Reads a folder of prose, its tables by their column `text`."""
    found = PlainFolder()
    seen = {_identity(top)}
    folders, files = [top], dict[tuple[int, int], list[Path]]()
    while folders:
        for entry in folders.pop().iterdir():
            if entry.name.startswith("."):
                found.left_out["hidden files and folders"] += 1
            elif not entry.exists():
                found.left_out["links that lead nowhere"] += 1
            elif entry.is_dir():
                if _identity(entry) in seen:
                    found.left_out["links to folders that are read already"] += 1
                else:
                    folders.append(entry)
                seen.add(_identity(entry))
            elif not stat.S_ISREG(entry.stat().st_mode):
                found.left_out["pipes, sockets and devices"] += 1
            elif not _is_meant(entry):
                found.left_out["files of other kinds"] += 1
            else:
                files.setdefault(_identity(entry), []).append(entry)
    for paths in files.values():
        found.left_out["links to files that are read already"] += len(paths) - 1
        documents = _documents(paths[0], found, whole=len(files) > 1)
        if documents is None:
            found.refused += [path.name for path in paths]
        else:
            found.documents.update(documents)
            found.left_out["files without a word"] += not documents
    return found


def _identity(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def _kind(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def _is_meant(path: Path) -> bool:
    if "." not in path.name.lower().removesuffix(".gz"):
        return False
    if _kind(path) == "json":
        try:
            return _begins_as_json(_text(path))
        except _RefusedError:  # then its bytes tell
            return _begins_as_json(path.read_bytes().decode("latin-1"))
    return _kind(path) in {"txt", "csv", "tsv", "jsonl", "ndjson", "parquet"}


def _begins_as_json(text: str) -> bool:
    return re.match(r'(\{|\[\s*\{\s*)"[^"]*":', text) is not None


def _documents(path: Path, found: PlainFolder, whole: bool) -> list[str] | None:
    """Returns the documents of a file; None if it must be refused."""
    try:
        if _kind(path) == "txt" and not _begins_as_json(_text(path)):
            lines = [line.strip() for line in re.split("\r\n|\r|\n", _text(path))]
            blocks = ["\n".join(lines)] if whole else "\n".join(lines).split("\n\n")
            documents = ["".join(block.split()) for block in blocks]
        else:
            documents = [_cell(cell, found) for cell in _cells(path)]
    except _RefusedError:
        return None
    return [document for document in documents if document]


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _RefusedError from error
    if "\0" in text:
        raise _RefusedError
    return text


def _cells(path: Path) -> list[Any]:
    try:
        if _kind(path) == "parquet":
            cells = parquet.read_table(io.BytesIO(path.read_bytes()))["text"].to_pylist()
        elif _kind(path) in {"csv", "tsv"}:
            cells = _column(_text(path), "," if _kind(path) == "csv" else "\t")
        else:
            cells = _values(_text(path))
    except (ValueError, OSError, KeyError, csv.Error) as error:
        raise _RefusedError from error
    cells = [_of_lines(cell) for cell in cells]
    full = [cell for cell in cells if cell and not (isinstance(cell, str) and _no_text(cell))]
    if full and not isinstance(full[0], str):
        raise _RefusedError
    return cells


def _of_lines(cell: Any) -> Any:
    """Returns the text of a cell that is a list of lines; any other cell as it is."""
    lines = isinstance(cell, list) and all(isinstance(line, str) for line in cell)
    return "\n".join(cell) if lines else cell


def _column(text: str, delimiter: str) -> list[str]:
    stream = io.StringIO(text, newline="")
    rows = [row for row in csv.reader(stream, delimiter=delimiter, strict=True) if row]
    if not rows:
        return []
    if rows[0].count("text") != 1 or any(len(row) != len(rows[0]) for row in rows):
        raise _RefusedError
    return [row[rows[0].index("text")] for row in rows[1:]]


def _values(text: str) -> list[Any]:
    lines = [line for line in re.split("\r\n|\r|\n", text) if line]
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in lines]
    if not all(isinstance(row, dict) for row in rows):
        raise _RefusedError
    if any(rows) and not any("text" in row for row in rows):
        raise _RefusedError
    return [row.get("text") for row in rows]


def _no_text(cell: str) -> bool:
    return "\0" in cell or any("\ud800" <= character <= "\udfff" for character in cell)


def _cell(cell: Any, found: PlainFolder) -> str:
    """Returns the document of a cell, or counts the cell."""
    if not isinstance(cell, str | None):
        found.left_out[f"cells of 'text' that hold {type(cell).__name__}, not text"] += 1
    elif cell and _no_text(cell):
        found.left_out["cells of 'text' with NUL or half a surrogate pair"] += 1
    elif not (cell and cell.strip()):
        found.left_out["rows without a word in 'text'"] += 1
    else:
        return "".join(cell.split())
    return ""
