"""The corpus: where its text comes from, and how it becomes documents, sentences and splits."""

import re
from dataclasses import dataclass, field
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
    shards = "shards"


class Format(Enum):
    """How text becomes documents, paragraphs and words."""

    wikitext = "wikitext"
    prose = "prose"


class DocumentUnit(Enum):
    """What a document of files of one's own is."""

    file = "file"
    blank_line = "blank_line"
    heading = "heading"
    row = "row"


class Fallback(Enum):
    """The corpus to use when the wanted one is unavailable."""

    builtin = "builtin"


class PrepareExecutor(Enum):
    """What runs the workers of a preparation."""

    processes = "processes"
    dask = "dask"
    ray = "ray"
    submitit = "submitit"


@dataclass
class PrepareConfig:
    """The workers that prepare a text; whatever they are, the prepared corpus is the same."""

    executor: PrepareExecutor = option(PrepareExecutor.processes, EXECUTION)
    """What runs the workers: `processes` of this machine, or a cluster that sees the same files.
    `dask` finds it by DASK_SCHEDULER_ADDRESS, `ray` by RAY_ADDRESS, `submitit` where there is
    SLURM; without one of these they start workers on this machine."""
    workers: int | None = option(None, EXECUTION, at_least=1)
    """How many workers; 1 works in the process of the run. Null is one a core with `processes`, but
    1 for texts below 50 MB; with `submitit` 16 jobs; with the others what the cluster offers."""

    def __post_init__(self) -> None:
        check_limits(self, "data.prepare.")


@dataclass
class CorpusConfig:
    """The text of a run; WikiText-2 from the hub by default."""

    source: CorpusSource = option(CorpusSource.hub, TEXT | CHOICE)
    """Where the text comes from: a data set of the Hugging Face hub at one commit, the prose that
    every CPython carries (`builtin`), files of your own (`text`), or a corpus in shards that
    `bert-lightning shards` wrote (`shards`)."""
    name: str | None = option(None, TEXT | CHOICE)
    """The name of the corpus in the cache and in reports; null follows from the source."""
    path: str | None = option(None, TEXT | PLACE)
    """A file, folder or pattern for `text`, on a disk or at an address such as `s3://bucket/folder`;
    the URL or folder for `shards`; for `hub` a folder with WikiText's files instead."""
    format: Format = option(Format.wikitext, TEXT)
    """How text becomes documents, paragraphs and words. `wikitext`: a line is a paragraph,
    ` = Title = ` starts a document, and spaces separate words and ` . `. `prose`: a line is a
    paragraph, `document` says what a document is, and punctuation is split from words."""
    document: DocumentUnit | None = option(None, TEXT)
    """What a document of `text` is: a `file`, in which blank lines separate paragraphs; what stands
    between blank lines (`blank_line`); an article of WikiText's format (`heading`); a `row` of a
    table. Null follows from the input, and is said: `file` for several files of text, if the splits
    need no more documents than that, and `blank_line` for one."""
    sentences: str | None = option(None, TEXT)
    """How a paragraph becomes sentences: wikitext (` . ` separates them), prose (rules), line (a
    line is a sentence), pysbd (needs that package), or `module:function` of your own; null follows
    from `format`."""
    words: str | None = option(None, TEXT)
    """Which characters belong to one word, for masks of whole words and of spans
    (`batch.masking.unit`) in text without spaces: rjieba (Chinese; needs that package), spaces (the
    text was segmented before), or `module:function` of your own; null leaves it to the tokenizer,
    to which each Chinese character is a word."""
    min_sentences: int = option(2, TEXT | EXAMPLES, at_least=1)
    """Paragraphs with fewer sentences are left out; 1 keeps those that give no sentence pair within
    the paragraph, as pairs=document, segment and none do."""
    text_column: str = option("text", TEXT)
    """The column of a table (of the hub, .csv, .tsv, JSON or .parquet) that holds the text; `a.b`
    is a field within a column, and `title+body` joins columns, as paragraphs of one document."""
    hard_wrapped: bool | None = option(None, TEXT)
    """In `prose`, each line is a paragraph. When true, single line breaks mean nothing: each block
    between blank lines, of a file or of a cell of a table, is one paragraph. Null finds it out for
    each file, by the lengths of its lines, and says so; in tables it is false."""
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
    shard_cache_gb: float = option(4.0, EXECUTION, above=0)
    """For `shards`: the GB of fetched shards that the folder of prepared corpora may hold, for all
    runs of a machine together."""
    validation_fraction: float = option(0.1, TEXT, at_least=0, below=1)
    """Fraction of the documents held out for validation, where the corpus has no such split."""
    test_fraction: float = option(0.05, TEXT, at_least=0, below=1)
    """Fraction of the documents held out for testing, where the corpus has no such split."""
    near_duplicates: float | None = option(None, TEXT, above=0, at_most=0.99)
    """The similarity from which a document stays in the split of an earlier one: the fraction that
    their runs of five words have in common, such as 0.8, by MinHash (needs the extra `dedup`). Null
    keeps exact duplicates together, whose sentences are the same."""

    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    """The workers that prepare the text."""

    def __post_init__(self) -> None:
        check_limits(self, "data.")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(
                f"data.name={self.name!r} names a folder of the cache: it must consist of letters, "
                "digits, '_', '-' and '.'"
            )
        if self.document is not None:
            self._check_document(self.document)
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                f"data.validation_fraction={self.validation_fraction:g} and "
                f"data.test_fraction={self.test_fraction:g} leave nothing to train on: "
                "their sum must stay below 1"
            )

    def _check_document(self, unit: DocumentUnit) -> None:
        name = f"data.document={unit.value}"
        if self.source is not CorpusSource.text:
            raise UserError(f"{name} is for files of your own (data=text): omit it")
        if (self.format is Format.wikitext) != (unit is DocumentUnit.heading):
            raise UserError(
                f"{name} does not go with data.format={self.format.value}: headings begin the "
                "documents of data.format=wikitext, and of no other format"
            )

    @property
    def shown_name(self) -> str:
        """The name of the corpus: the one that is given, else the hub's or the source's."""
        from_hub = self.source is CorpusSource.hub
        return self.name or (self.hub_name if from_hub else self.source.value)
