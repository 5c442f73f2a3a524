"""Lines of files and rows of tables → raw documents: paragraphs, not yet split into sentences.

All is read as a stream, so its size does not matter. A text without blank lines is divided where it
gets longer than any book.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain

from bert_lightning.config import CorpusConfig, DocumentUnit, Format
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.layout.hard_wrapping import joined, unwrapping
from bert_lightning.corpus.readers.left_out import LeftOut, shown
from bert_lightning.corpus.readers.lines import read_lines
from bert_lightning.corpus.readers.pages.forms import PAGES
from bert_lightning.corpus.readers.tables import file_texts

log = logging.getLogger(__name__)

LONGEST_DOCUMENT = 4_000_000
"""Characters after which a document ends and the next begins: more than "War and Peace" has."""
_HEADING = re.compile(r"\s*= [^=].* =\s*")
_DOC_TAG = re.compile(r"<doc id=.*>|</doc>")


def raw_documents(file: TextFile, data: CorpusConfig, left_out: LeftOut) -> Iterator[list[str]]:
    """Yields the documents of a file as lists of paragraphs."""
    name, documents = shown(file.path), 0
    for document in part_documents(file, data, left_out):
        if not documents and data.format is Format.prose and _HEADING.fullmatch(document[0]):
            log.warning("%s is WikiText, it seems: data.format=wikitext keeps its articles.", name)
        documents += 1
        yield document
    if not documents:
        left_out.add("files without a word", name)


def part_documents(file: TextFile, data: CorpusConfig, left_out: LeftOut) -> Iterator[list[str]]:
    """Yields the documents of a part of a file, about whose first one nothing is said."""
    if file.holds == "text":
        lines = read_lines(file.path, file.part)
        if data.format is Format.wikitext:
            return split_at_headings(lines)
        blocks = _blocks(*unwrapping(lines, shown(file.path), data, left_out))
        of_file = data.document is DocumentUnit.file
        return _between_gaps(chain.from_iterable(blocks)) if of_file else blocks
    if file.holds == "wikiextractor":
        return _split_at_doc_tags(read_lines(file.path, file.part))
    if file.holds in PAGES:
        return PAGES[file.holds](file.path, left_out)
    return table_documents(file_texts(file, data, left_out), shown(file.path), data, left_out)


def begins_part(line: str, file: TextFile, data: CorpusConfig) -> bool:
    """Whether a document has ended before this line anyway, so that a file can be cut there."""
    if file.holds == "json":
        return data.format is Format.prose and line.startswith("{")
    first = line.partition("\r")[0].strip()
    if file.holds == "wikiextractor":
        return _DOC_TAG.fullmatch(first) is not None
    if file.holds == "text" and data.format is Format.wikitext:
        return _is_title(first)
    return file.holds == "text" and data.document is not DocumentUnit.file and not first


def _is_title(line: str) -> bool:
    """Whether this stripped line begins an article of WikiText."""
    return line.startswith("= ") and line.endswith(" =") and not line.startswith("= = ")


def table_documents(
    texts: Iterable[str], name: str, data: CorpusConfig, left_out: LeftOut
) -> Iterator[list[str]]:
    """Yields the documents of a column: each cell is one in `prose`, and lines in `wikitext`."""
    if data.format is Format.wikitext:
        yield from split_at_headings(chain.from_iterable(map(_lines, texts)))
        return
    for text in texts:
        if text.strip():
            blocks = _blocks(data.hard_wrapped is True, _lines(text))
            yield from _between_gaps(chain.from_iterable(blocks))
        else:
            left_out.add(f"rows without a word in '{data.text_column}'", name)


def _lines(text: str) -> Iterator[str]:
    return (line.removesuffix("\n") for line in StringIO(text, newline=None))


def _blocks(wrapped: bool, lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields the lines between blank lines as paragraphs, or as one if they are hard-wrapped."""
    for block in _between_gaps(line.strip() or None for line in lines):
        yield [joined(block)] if wrapped else block


def _split_at_doc_tags(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields the articles that WikiExtractor writes: between tags, a line is a paragraph."""
    stripped = (line.strip() for line in lines)
    tagged = (None if _DOC_TAG.fullmatch(line) else line for line in stripped)
    return _between_gaps(line for line in tagged if line != "")


def split_at_headings(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields each article's paragraphs: ` = Title = ` starts one, other headings are omitted."""

    def without_headings() -> Iterator[str | None]:
        for line in lines:
            text = line.strip()
            if text and not (text.startswith("= ") and text.endswith(" =")):
                yield line
            elif _is_title(text):
                yield None

    return _between_gaps(without_headings())


def _between_gaps(lines: Iterable[str | None]) -> Iterator[list[str]]:
    """Yields the lines between the `None`s as documents; each ends at `LONGEST_DOCUMENT`."""
    document: list[str] = []
    characters, warned = 0, False
    for line in lines:
        if line is not None:
            document.append(line)
            characters += len(line)
        if document and (line is None or characters >= LONGEST_DOCUMENT):
            if line is not None and not warned:
                warned = True
                log.warning(
                    "A document of more than %s characters is divided into several: blank lines "
                    "(in WikiText headings) separate documents.",
                    f"{LONGEST_DOCUMENT:,}",
                )
            yield document
            document, characters = [], 0
    if document:
        yield document
