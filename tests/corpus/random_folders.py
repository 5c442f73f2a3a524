"""Folders as people have them: odd names, links, encodings, line ends, tables, special files."""

import csv
import gzip
import io
import json
import os
import random
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

ALPHABETS = [
    "ab",
    "aàßÆŁş",
    "абвΣσς",
    "今天下雨。！",
    "אבגدر",
    "नमस्ते",
    "👩‍👩‍👧🏽🇩🇪☃️",
    "\u0301\u200b\u00ad\ufeff\x1c",
]
MARKS = [". ", "! ", "? ", "… ", "。", ' "', " (", "\t", "\x0b", "\x85", "\u2028", " <unk> ", "\r"]
_STEMS = [
    *("a", "é", "x y", "a=b", "it's", 'q"q', "[1]", "s*r", "w?w", "{b}", "~", "$HOME", "new\nline"),
    *("\udcff", "-rf", "a::b", "%20", "#1", "wiki_00", "a.b"),
]
_HIDDEN = [".", "._", ".ipynb_checkpoints"]
_ENDINGS = [
    *(".txt", ".txt", ".txt", ".TXT", ".txt.gz", ".Txt.GZ", ".csv", ".CSV", ".csv.gz", ".tsv"),
    *(
        ".json",
        ".jsonl",
        ".JSONL",
        ".ndjson",
        ".jsonl.gz",
        ".parquet",
        ".md",
        ".dat",
        ".txt~",
        ".log",
    ),
]
_ENCODINGS = ["utf-8"] * 30 + ["utf-8-sig", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]


def random_text(rng: random.Random) -> str:
    """Returns lines of words of many scripts, some of them blank."""

    def word() -> str:
        alphabet = rng.choice(ALPHABETS)
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 6)))

    def paragraph() -> str:
        number = rng.choice([0, 1, 1, 3, 20])
        return "".join(word() + rng.choice([" ", " ", rng.choice(MARKS)]) for _ in range(number))

    ends = ["\n", "\n", "\n\n", "\r\n", "\n \n\n"]
    return "".join(paragraph() + rng.choice(ends) for _ in range(rng.randint(1, 40)))


def fill(folder: Path, rng: random.Random, depth: int = 2) -> None:
    """Writes random entries into a folder."""
    for number in range(rng.choice([0, 1, 2, 4, 8])):
        stem = rng.choice(_STEMS) + str(number)
        if rng.random() < 0.1:
            stem = rng.choice(_HIDDEN) + stem
        path = folder / (stem + rng.choice(_ENDINGS))
        kind = rng.choice(["file"] * 8 + ["folder"] * 2 + ["link", "hard link", "special"])
        others = sorted(entry for entry in folder.iterdir() if entry.is_file())
        if kind == "folder" and depth:
            path.mkdir()
            fill(path, rng, depth - 1)
        elif kind == "link":
            targets = [folder, folder.parent, *folder.iterdir(), Path("nowhere"), path]
            target = rng.choice(targets)
            path = path.with_name(stem + "".join(target.suffixes[-2:]))
            path.symlink_to(target)
        elif kind == "hard link" and others:
            target = rng.choice(others)
            path = path.with_name(stem + "".join(target.suffixes[-2:]))
            with suppress(OSError):
                path.hardlink_to(target.resolve())
        elif kind == "special":
            os.mkfifo(path)
        else:
            path.write_bytes(_content(path.name.lower(), rng))


def _content(name: str, rng: random.Random) -> bytes:
    ending = Path(name.removesuffix(".gz")).suffix
    if ending == ".parquet":
        return _parquet(rng)
    if ending in {".csv", ".tsv"}:
        text = _delimited(rng, "," if ending == ".csv" else "\t")
    elif ending in {".json", ".jsonl", ".ndjson"} or rng.random() < 0.03:
        text = _json(rng)
    else:
        text = random_text(rng) * (rng.random() > 0.1)
        text = text.replace("\n", rng.choice(["\n", "\n", "\r\n", "\r"]))
    if rng.random() < 0.02:
        text = text[: len(text) // 2] + "\0" + text[len(text) // 2 :]
    content = text.encode(rng.choice(_ENCODINGS), "replace")
    if name.endswith(".gz"):
        content = gzip.compress(content)
        content = content[: len(content) // 2] if rng.random() < 0.05 else content
    return content


def _delimited(rng: random.Random, delimiter: str) -> str:
    stream = io.StringIO(newline="")
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    end = rng.choice(["\n", "\r\n"])
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)
    others = rng.choice([[], ["id"], ["id", "tag"]])
    columns = [*others, rng.choice(["text"] * 15 + ["body"])]
    if rng.random() < 0.03:
        columns.append("text")
    writer.writerow(columns)
    for _ in range(rng.choice([0, 1, 5])):
        row = [rng.choice(["1", "x", ""]) for _ in columns[:-1]] + [_cell(rng)]
        if rng.random() < 0.02:
            row = rng.choice([[*row, "more"], row[:-1], ["unquoted, comma", *row]])
        writer.writerow(row)
    text = stream.getvalue()
    return text + '"no end' if rng.random() < 0.02 else text


def _cell(rng: random.Random) -> str:
    return rng.choice(["", " ", random_text(rng), random_text(rng), random_text(rng)])


def _json(rng: random.Random) -> str:
    rows = []
    for _ in range(rng.choice([0, 1, 5])):
        row: dict[str, object] = {rng.choice(["text"] * 30 + ["body"]): _cell(rng)}
        if rng.random() < 0.1:
            row["text"] = rng.choice([None, 7, ["a b"], "half \ud83d", "nul \0"])
        if rng.random() < 0.5:
            row["tag"] = rng.choice([None, 1, "x", [2], {"a": 1}])
        rows.append(row)
    if rows and rng.random() < 0.2:
        return json.dumps(rows, indent=rng.choice([None, 1]))
    lines = [json.dumps(row) for row in rows]
    if rng.random() < 0.03:
        lines.append(rng.choice(['{"text": "no end', "[1]", "7", "{}"]))
    return rng.choice(["\n", "\n\n", "\r\n"]).join(lines)


def _parquet(rng: random.Random) -> bytes:
    cells = [rng.choice([None, _cell(rng), _cell(rng)]) for _ in range(rng.choice([0, 1, 5]))]
    tags = pa.array([[("a", 1)]] * len(cells), pa.map_(pa.string(), pa.int64()))
    name = rng.choice(["text"] * 15 + ["body"])
    stream = io.BytesIO()
    parquet.write_table(pa.table({"tag": tags, name: pa.array(cells, pa.string())}), stream)
    content = stream.getvalue()
    return content[:-5] if rng.random() < 0.05 else content
