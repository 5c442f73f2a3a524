"""Files of labelled examples for tests, and what is read of them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from bert_lightning.config.task import LabelledConfig, TaskConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.read import LabelledData, read_labelled

Rows = Sequence[Sequence[Any]]
COLORS = [(f"A {color} house, number {n}.", color) for n in range(10) for color in ("red", "blue")]
"""Twenty examples of two classes."""


def write_csv(file: Path, rows: Rows, header: Sequence[str] | None = ("text", "label")) -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows] if header else rows)
    return file


def write_tsv(file: Path, rows: Rows, header: Sequence[str] | None = ("text", "label")) -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows([header, *rows] if header else rows)
    return file


def write_plain_tsv(file: Path, rows: Rows, header: Sequence[str] = ("text", "label")) -> Path:
    """Writes cells between tabs as they are, as GLUE's files have them."""
    lines = ["\t".join(map(str, row)) + "\n" for row in [header, *rows]]
    file.write_text("".join(lines), encoding="utf-8", newline="")
    return file


def write_jsonl(file: Path, rows: Rows, header: Sequence[str] = ("text", "label")) -> Path:
    lines = [json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")
    return file


def write_json(file: Path, rows: Rows, header: Sequence[str] = ("text", "label")) -> Path:
    objects = [dict(zip(header, row, strict=True)) for row in rows]
    file.write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8")
    return file


def write_parquet(file: Path, rows: Rows, header: Sequence[str] = ("text", "label")) -> Path:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file


def write_conll(file: Path, sentences: Sequence[Rows], separator: str = "\t") -> Path:
    blocks = ["".join(separator.join(cells) + "\n" for cells in rows) for rows in sentences]
    file.write_text("\n".join(blocks), encoding="utf-8")
    return file


def read(path: Path, kind: TaskKind = TaskKind.text, seed: int = 0, **options: Any) -> LabelledData:
    """Reads a file; options of the task have its names, the others are those of the data."""
    columns = {name: options.pop(name) for name in list(options) if name.endswith("_column")}
    data = LabelledConfig(path=str(path), **options)
    return read_labelled(data, TaskConfig(kind=kind, **columns), seed)


def refusal(path: Path, kind: TaskKind = TaskKind.text, **options: Any) -> str:
    """Returns the message of the error that reading must end with."""
    try:
        found = read(path, kind, **options)
    except UserError as error:
        return str(error)
    raise AssertionError(f"{path} was read: {found.notes}")
