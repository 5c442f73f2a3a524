"""Which reader makes documents of which form of pages."""

from collections.abc import Callable, Iterator

from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.pages.html import html_documents
from bert_lightning.corpus.readers.pages.wikipedia import wikipedia_documents
from bert_lightning.corpus.readers.storage.opening import File

PAGES: dict[str, Callable[[File, LeftOut], Iterator[list[str]]]] = {
    "html": html_documents,
    "wikipedia": wikipedia_documents,
}
"""Yields the documents of a file as lists of paragraphs, by what the file holds."""
