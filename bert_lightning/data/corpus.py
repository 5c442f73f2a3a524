"""A source of text → documents of paragraphs of sentences. The only importer of `datasets`."""

import hashlib
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.config import DataConfig, Format, Source
from bert_lightning.data.builtin import builtin_documents
from bert_lightning.data.sentences import split_prose, split_wikitext
from bert_lightning.errors import UserError

log = logging.getLogger(__name__)

Document = list[list[str]]
"""Paragraphs, each a list of sentences."""

HUB_SECONDS = 8
"""How long the hub may take to answer before it counts as out of reach."""

_WIKITEXT_FILES = {
    "train": "wiki.train.tokens",
    "validation": "wiki.valid.tokens",
    "test": "wiki.test.tokens",
}
_TABLES = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}


class SourceUnavailable(Exception):
    """The text cannot be had at present; the message says why."""


@dataclass(frozen=True)
class TextSource:
    """Text that can be read, and what identifies it without reading it all."""

    name: str
    origin: str
    """Where the text comes from, for people."""
    fingerprint: list[str]
    """What decides the result of `read`: hashes of the text, a hub's commit, options."""
    text_format: Format
    read: Callable[[], dict[str, list[Document]]]
    """Reads all splits; raises SourceUnavailable where the text is out of reach."""


def find_source(data: DataConfig) -> TextSource:
    """The source that the config asks for.

    Raises:
        UserError: where a file is missing or not UTF-8.
    """
    match data.source:
        case Source.builtin:
            return builtin_source(data)
        case Source.text:
            return _text_source(data)
        case Source.wikitext2:
            return _hub_source(data) if data.path is None else _wikitext_folder(data, data.path)


def builtin_source(data: DataConfig) -> TextSource:
    """The prose that every CPython carries: its documentation."""
    version = ".".join(str(part) for part in sys.version_info[:3])

    def read() -> dict[str, list[Document]]:
        return _hold_out(_with_pairs(builtin_documents(), Format.prose), data)

    return TextSource(
        name="builtin",
        origin=f"pydoc_data.topics of Python {version}",
        fingerprint=["builtin", version, *_split_options(data)],
        text_format=Format.prose,
        read=read,
    )


def check_pairs(source: TextSource, splits: dict[str, list[Document]]) -> None:
    """Makes sure that sentence pairs can be drawn from every split.

    Raises:
        UserError: with the counts that fall short.
    """
    for name, documents in splits.items():
        if len(documents) < 2:
            raise UserError(
                f"{source.origin}: the {name} split has {len(documents)} documents with a paragraph "
                "of two sentences, and next-sentence prediction needs 2 or more, as a random second "
                "sentence comes from another document; separate documents by blank lines, "
                "or give more files"
            )
        paragraphs = [paragraph for document in documents for paragraph in document]
        if max(map(len, paragraphs)) < 2:
            raise UserError(
                f"{source.origin}: the {name} split has {len(documents)} documents and "
                f"{len(paragraphs)} paragraphs, of which none has two sentences; next-sentence "
                "prediction needs paragraphs of two sentences or more"
            )


def _wikitext_folder(data: DataConfig, folder: str) -> TextSource:
    files = {split: Path(folder).expanduser() / name for split, name in _WIKITEXT_FILES.items()}
    for file in files.values():
        if not file.is_file():
            raise UserError(
                f"data.path={folder}: there is no file {file.absolute()} "
                f"(the working directory is {Path.cwd()}); WikiText-2's folder holds "
                f"{', '.join(_WIKITEXT_FILES.values())}; for text of your own: "
                "data=text data.path='notes/*.txt'"
            )
    return TextSource(
        name="wikitext2",
        origin=str(Path(folder).expanduser().resolve()),
        fingerprint=[f"wikitext {_hash_file(file)}" for file in files.values()],
        text_format=Format.wikitext,
        read=lambda: {
            split: _wikitext_documents(_read_utf8(file).split("\n"))
            for split, file in files.items()
        },
    )


def _hub_source(data: DataConfig) -> TextSource:
    commit = f"{data.hub_repository}/{data.hub_name}@{data.hub_revision}"

    def read() -> dict[str, list[Document]]:
        rows = _download(data)
        return {
            split: _wikitext_documents(row.rstrip("\n") for row in rows[split])
            for split in _WIKITEXT_FILES
        }

    return TextSource("wikitext2", commit, [f"hub {commit}"], Format.wikitext, read)


def _download(data: DataConfig) -> dict[str, Iterable[str]]:
    from huggingface_hub import constants

    reason = None if constants.is_offline_mode() else _hub_out_of_reach(data)
    import datasets

    if reason is not None:
        datasets.config.HF_HUB_OFFLINE = True  # what is cached still loads, without retries
        constants.HF_HUB_OFFLINE = True
    try:
        loaded = datasets.load_dataset(
            data.hub_repository, data.hub_name, revision=data.hub_revision
        )
    except Exception as error:  # datasets raises a dozen types for "cannot be had"
        raise SourceUnavailable(
            f"{data.hub_repository} ({data.hub_name}) is neither in the cache nor to be had from "
            f"the Hugging Face hub ({reason or error})"
        ) from error
    return {split: loaded[split]["text"] for split in loaded}


def _hub_out_of_reach(data: DataConfig) -> str | None:
    """Asks the hub for the data set's entry; says why it does not answer, if it does not.

    `datasets` itself would retry for minutes, and a name server may hang: hence a thread.
    """
    from huggingface_hub import HfApi

    answer: list[str | None] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(
                data.hub_repository, revision=data.hub_revision, timeout=HUB_SECONDS
            )
            answer.append(None)
        except Exception as error:
            answer.append(f"{type(error).__name__}: {error}".split("\n", 1)[0])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answer[0] if answer else f"no answer within {HUB_SECONDS} s"


def _wikitext_documents(lines: Iterable[str]) -> list[Document]:
    return _with_pairs(_part_at_headings(lines), Format.wikitext)


def _part_at_headings(lines: Iterable[str]) -> list[list[str]]:
    """Paragraphs of each article; ` = Title = ` starts one, ` = = Section = = ` is left out."""
    articles: list[list[str]] = [[]]
    for line in lines:
        text = line.strip()
        if not (text.startswith("= ") and text.endswith(" =")):
            articles[-1].append(line)
        elif not text.startswith("= = "):
            articles.append([])
    return articles


def _text_source(data: DataConfig) -> TextSource:
    files = _text_files(data)

    def read() -> dict[str, list[Document]]:
        raw = [document for file in files for document in _raw_documents(file, data)]
        documents = _with_pairs(raw, data.format)
        if not documents:
            raise UserError(
                f"data.path={data.path}: {len(files)} files, {len(raw)} documents and "
                f"{sum(map(len, raw))} paragraphs, of which none has two sentences; next-sentence "
                "prediction needs paragraphs of two sentences or more"
                + (
                    ""
                    if data.hard_wrapped
                    else "; for text with hard line breaks: data.hard_wrapped=true"
                )
            )
        return _hold_out(documents, data)

    options = [data.format.value, str(data.hard_wrapped), data.text_column, *_split_options(data)]
    return TextSource(
        name="text",
        origin=f"{data.path} ({len(files)} files)",
        fingerprint=["text", *options, *(_hash_file(file) for file in files)],
        text_format=data.format,
        read=read,
    )


def _text_files(data: DataConfig) -> list[Path]:
    if data.path is None:
        raise UserError(
            "data=text needs the text: data.path='notes/*.txt' names a file, a folder or a pattern"
        )
    path = Path(data.path).expanduser()
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix in {".txt", *_TABLES}]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(name) for name in glob(str(path), recursive=True) if Path(name).is_file()]
    if not found:
        raise UserError(
            f"data.path={data.path}: nothing at {path.absolute()} "
            f"(the working directory is {Path.cwd()}); give a file, a folder of .txt files, "
            "or a pattern in quotes"
        )
    return sorted(found)


def _raw_documents(file: Path, data: DataConfig) -> Iterator[list[str]]:
    """Documents as lists of paragraphs; in a table each row is a document."""
    if file.suffix in _TABLES:
        for text in _column(file, data.text_column):
            yield [line for line in text.split("\n") if line.strip()]
        return
    text = _read_utf8(file)
    if not text.strip():
        raise UserError(f"data.path={data.path}: {file.absolute()} is empty (0 words)")
    if data.format is Format.wikitext:
        yield from _part_at_headings(text.split("\n"))
        return
    for block in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in block.split("\n") if line.strip()]
        if lines:
            yield [" ".join(lines)] if data.hard_wrapped else lines


def _column(file: Path, column: str) -> Iterable[str]:
    import datasets

    try:
        table: Any = datasets.load_dataset(
            _TABLES[file.suffix], data_files=str(file), split="train", keep_in_memory=True
        )
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(
            f"{file.absolute()} cannot be read as {file.suffix[1:]}: {cause}"
        ) from error
    if column not in table.column_names:
        raise UserError(
            f"{file.absolute()} has no column '{column}'; it has "
            f"{', '.join(table.column_names)}: name one with data.text_column=…"
        )
    content = getattr(table.features[column], "dtype", "lists")
    if content not in {"string", "large_string"}:
        raise UserError(
            f"{file.absolute()}: column '{column}' holds {content}, not text; it has "
            f"{', '.join(table.column_names)}: name one with data.text_column=…"
        )
    return (text for text in table[column] if text)


def _read_utf8(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file.absolute()} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}; "
            f"convert it, for example: iconv -f latin1 -t utf-8 {file.name}"
        ) from error


def _with_pairs(documents: Iterable[list[str]], text_format: Format) -> list[Document]:
    """Splits paragraphs into sentences and keeps those paragraphs that have two or more.

    In WikiText, as in the textbook, a paragraph counts where the delimiter ` . ` stands in it, be
    it at its end: one such sentence alone makes no pair, but its words are in the vocabulary.
    """
    if text_format is Format.wikitext:
        split = ([split_wikitext(p) for p in paragraphs if " . " in p] for paragraphs in documents)
    else:
        split = (
            [sentences for sentences in map(split_prose, paragraphs) if len(sentences) >= 2]
            for paragraphs in documents
        )
    return [document for document in split if document]


def _hold_out(documents: list[Document], data: DataConfig) -> dict[str, list[Document]]:
    """Parts whole documents, evenly spread over the corpus, from the training split."""
    splits = {"train": documents}
    for name, share in {"test": data.test_share, "validation": data.validation_share}.items():
        if share > 0:
            remaining = splits["train"]
            wanted = max(2, round(share * len(documents)))
            chosen = ((np.arange(wanted) + 0.5) * len(remaining) / wanted).astype(int)
            held_out = set(chosen.tolist())
            splits[name] = [remaining[i] for i in sorted(held_out)]
            splits["train"] = [d for i, d in enumerate(remaining) if i not in held_out]
    return splits


def _split_options(data: DataConfig) -> list[str]:
    return [f"validation {data.validation_share}", f"test {data.test_share}"]


def _hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
