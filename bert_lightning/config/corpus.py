"""The corpus: where its text comes from, and how it becomes documents, sentences and splits."""

import re
from dataclasses import dataclass
from enum import Enum

from bert_lightning.config.affects import (
    CHOICE,
    EXAMPLES,
    EXECUTION,
    PLACE,
    TEXT,
    check_limits,
    option,
)
from bert_lightning.errors import UserError


class CorpusSource(Enum):
    """Where the text comes from."""

    hub = "hub"
    builtin = "builtin"
    text = "text"


class Format(Enum):
    """How text becomes documents, paragraphs and words."""

    wikitext = "wikitext"
    prose = "prose"


class Fallback(Enum):
    """The corpus to use when the wanted one is unavailable."""

    builtin = "builtin"


@dataclass
class CorpusConfig:
    """The text of a run; WikiText-2 from the hub by default."""

    source: CorpusSource = option(CorpusSource.hub, TEXT | CHOICE)
    """Where the text comes from: a data set of the Hugging Face hub at one commit, the prose that
    every CPython carries (`builtin`), or files of your own (`text`)."""
    name: str | None = option(None, TEXT | CHOICE)
    """The name of the corpus in the cache and in reports; null follows from the source."""
    path: str | None = option(None, TEXT | PLACE)
    """A file, folder or pattern for `text`, on a disk or at an address such as `s3://bucket/folder`;
    for `hub` a folder with WikiText's files instead."""
    format: Format = option(Format.wikitext, TEXT)
    """How text becomes documents, paragraphs and words. `wikitext`: a line is a paragraph,
    ` = Title = ` starts a document, and spaces separate words and ` . `. `prose`: blank lines, or
    the rows of a table, separate documents, and punctuation is split from words."""
    sentences: str | None = option(None, TEXT)
    """How a paragraph becomes sentences: wikitext (` . ` separates them), prose (rules), line (a
    line is a sentence), pysbd (needs that package), or `module:function` of your own; null follows
    from `format`."""
    min_sentences: int = option(2, TEXT | EXAMPLES, at_least=1)
    """Paragraphs with fewer sentences are left out; 1 keeps those that give no sentence pair."""
    text_column: str = option("text", TEXT)
    """The column of a table (of the hub, .csv, .tsv, JSON or .parquet) that holds the text. `a.b`
    is a field within a column; `title+body` joins columns, as paragraphs of one document."""
    hard_wrapped: bool = option(False, TEXT)
    """In `prose`, blank lines separate documents and each line is a paragraph. When true, single
    line breaks mean nothing: each block between blank lines, of a file or of a cell of a table, is
    one paragraph."""
    fallback: Fallback | None = option(Fallback.builtin, TEXT | CHOICE)
    """The corpus to use when the hub's is unavailable; null makes that an error."""
    hub_repository: str = option("Salesforce/wikitext", TEXT)
    """The hub's data set."""
    hub_name: str = option("wikitext-2-v1", TEXT)
    """The configuration within that data set."""
    hub_revision: str = option("b08601e04326c79dfdd32d625aee71d232d685c3", TEXT)
    """The commit of that data set: the same text for everyone."""
    streaming: bool = option(False, TEXT | CHOICE)
    """Whether the hub's text is read as a stream, twice where a vocabulary is built, and only the
    prepared ids are stored: for text that does not fit on the disk."""
    cache_dir: str | None = option(None, EXECUTION | PLACE)
    """The folder of prepared corpora; null is the platform's cache folder."""
    validation_fraction: float = option(0.1, TEXT, at_least=0, below=1)
    """Fraction of the documents held out for validation, where the corpus has no such split."""
    test_fraction: float = option(0.05, TEXT, at_least=0, below=1)
    """Fraction of the documents held out for testing, where the corpus has no such split."""

    def __post_init__(self) -> None:
        check_limits(self, "data.")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(
                f"data.name={self.name!r} names a folder of the cache: it must consist of letters, "
                "digits, '_', '-' and '.'"
            )
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                f"data.validation_fraction={self.validation_fraction:g} and "
                f"data.test_fraction={self.test_fraction:g} leave nothing to train on: "
                "their sum must stay below 1"
            )

    @property
    def shown_name(self) -> str:
        """The name of the corpus: the one that is given, else the hub's or the source's."""
        from_hub = self.source is CorpusSource.hub
        return self.name or (self.hub_name if from_hub else self.source.value)
