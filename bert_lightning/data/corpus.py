"""A source of text → documents of paragraphs of sentences."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bert_lightning.config import DataConfig, Format, Source
from bert_lightning.data.builtin import builtin_documents
from bert_lightning.data.sentences import split_prose, split_wikitext
from bert_lightning.data.tables import hub_rows
from bert_lightning.data.text_files import (
    find_text_files,
    hash_file,
    part_at_headings,
    raw_documents,
    read_utf8,
)
from bert_lightning.errors import UserError

Document = list[list[str]]
"""Paragraphs, each a list of sentences."""

_WIKITEXT_FILES = {
    "train": "wiki.train.tokens",
    "validation": "wiki.valid.tokens",
    "test": "wiki.test.tokens",
}


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
    """Reads all splits; raises UnavailableError where the text is out of reach."""


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
            return _hub_source(data) if data.path is None else _wikitext_folder(data.path)


def builtin_source(data: DataConfig) -> TextSource:
    """The prose that every CPython carries: its documentation."""
    version = ".".join(str(part) for part in sys.version_info[:3])

    def read() -> dict[str, list[Document]]:
        return _hold_out(_with_pairs(builtin_documents(), Format.prose), data, "the built-in text")

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
                f"{source.origin}: the {name} split has {len(documents)} documents with a "
                "paragraph of two sentences, and next-sentence prediction needs 2 or more, as a "
                "random second sentence comes from another document; separate documents by blank "
                "lines, or give more files"
            )
        paragraphs = [paragraph for document in documents for paragraph in document]
        if max(map(len, paragraphs)) < 2:
            raise UserError(
                f"{source.origin}: the {name} split has {len(documents)} documents and "
                f"{len(paragraphs)} paragraphs, of which none has two sentences; next-sentence "
                "prediction needs paragraphs of two sentences or more"
            )


def _wikitext_folder(folder: str) -> TextSource:
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
        fingerprint=[f"wikitext {hash_file(file)}" for file in files.values()],
        text_format=Format.wikitext,
        read=lambda: {
            split: _wikitext_documents(read_utf8(file).split("\n")) for split, file in files.items()
        },
    )


def _hub_source(data: DataConfig) -> TextSource:
    commit = f"{data.hub_repository}/{data.hub_name}@{data.hub_revision}"

    def read() -> dict[str, list[Document]]:
        rows = hub_rows(data)
        return {
            split: _wikitext_documents(row.rstrip("\n") for row in rows[split])
            for split in _WIKITEXT_FILES
        }

    return TextSource("wikitext2", commit, [f"hub {commit}"], Format.wikitext, read)


def _wikitext_documents(lines: Iterable[str]) -> list[Document]:
    return _with_pairs(part_at_headings(lines), Format.wikitext)


def _text_source(data: DataConfig) -> TextSource:
    files = find_text_files(data)

    def read() -> dict[str, list[Document]]:
        raw = [document for file in files for document in raw_documents(file, data)]
        documents = _with_pairs(raw, data.format)
        if not documents:
            wrapped = "; for text with hard line breaks: data.hard_wrapped=true"
            raise UserError(
                f"data.path={data.path}: {len(files)} files, {len(raw)} documents and "
                f"{sum(map(len, raw))} paragraphs, of which none has two sentences; next-sentence "
                "prediction needs paragraphs of two sentences or more"
                + ("" if data.hard_wrapped or data.format is Format.wikitext else wrapped)
            )
        return _hold_out(documents, data, f"data.path={data.path}")

    options = [data.format.value, str(data.hard_wrapped), data.text_column, *_split_options(data)]
    return TextSource(
        name="text",
        origin=f"{data.path} ({len(files)} files)",
        fingerprint=["text", *options, *(hash_file(file) for file in files)],
        text_format=data.format,
        read=read,
    )


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


def _hold_out(
    documents: list[Document], data: DataConfig, origin: str
) -> dict[str, list[Document]]:
    """Parts whole documents, evenly spread over the corpus, from the training split."""
    splits = {"train": documents}
    wished = {"test": data.test_share, "validation": data.validation_share}
    shares = {name: share for name, share in wished.items() if share > 0}
    needed = 2 + 2 * len(shares)
    if shares and len(documents) < needed:
        raise UserError(
            f"{origin} has {len(documents)} documents with a paragraph of two sentences, and "
            f"{needed} are needed: a random second sentence comes from another document, so each "
            "split needs 2; separate documents by blank lines, give more files, or hold out "
            f"nothing: {' '.join(f'data.{name}_share=0' for name in shares)}"
        )
    for name, share in shares.items():
        remaining = splits["train"]
        wanted = max(2, round(share * len(documents)))
        chosen = ((np.arange(wanted) + 0.5) * len(remaining) / wanted).astype(int)
        held_out = set(chosen.tolist())
        splits[name] = [remaining[i] for i in sorted(held_out)]
        splits["train"] = [d for i, d in enumerate(remaining) if i not in held_out]
    return splits


def _split_options(data: DataConfig) -> list[str]:
    return [f"validation {data.validation_share}", f"test {data.test_share}"]
