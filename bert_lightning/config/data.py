"""The corpus, and the batches made from it."""

import re
from dataclasses import dataclass, field
from enum import Enum

from bert_lightning.config.phases import FEWEST_TOKENS, PhaseConfig, check_phases
from bert_lightning.errors import UserError


class Source(Enum):
    """Where the text comes from."""

    hub = "hub"
    """A data set of the Hugging Face hub, at one commit."""
    builtin = "builtin"
    """The prose that every CPython carries."""
    text = "text"
    """Files of one's own."""


class Format(Enum):
    """How text becomes documents, paragraphs and words."""

    wikitext = "wikitext"
    """As WikiText is: a line is a paragraph, ` = Title = ` starts a document, words and ` . `
    stand between spaces."""
    prose = "prose"
    """Ordinary text: blank lines, or the rows of a table, separate documents; punctuation is split
    from words."""


class Fallback(Enum):
    """The corpus to use when the wanted one cannot be had."""

    builtin = "builtin"


class PairKind(Enum):
    """What the two halves of an example are."""

    sentence = "sentence"
    segment = "segment"
    none = "none"


class PairTask(Enum):
    """What the label of a pair says."""

    nsp = "nsp"
    """Whether the second half follows the first, or is a random one (BERT)."""
    sop = "sop"
    """Whether the two halves stand in their order, or are swapped (ALBERT)."""


class Overlong(Enum):
    """What becomes of two consecutive sentences that do not fit into an example."""

    truncate = "truncate"
    drop = "drop"


class MaskingUnit(Enum):
    """What is chosen, hidden and replaced as one."""

    token = "token"
    """Each token by itself, as in BERT."""
    word = "word"
    """All pieces of a word, as in BERT's whole-word masking."""
    span = "span"
    """Words in a row, as in SpanBERT."""


@dataclass
class MaskingConfig:
    """Which tokens are predicted, and what stands in their place."""

    mask_probability: float = 0.15
    """Share of an example's tokens that are predicted; between 0 and 1, both excluded."""
    mask_share: float = 0.8
    """Share of the predicted tokens that become `[MASK]`."""
    random_share: float = 0.1
    """Share of the predicted tokens that become a random word."""
    keep_share: float = 0.1
    """Share of the predicted tokens that stay as they are."""
    unit: MaskingUnit = MaskingUnit.token
    """What is chosen and replaced as one: a token, a whole word, or a span of words."""
    mask_probability_end: float | None = None
    """The share of predicted tokens at the end of the run, to which `mask_probability` moves in
    equal steps; null stays at `mask_probability`. Evaluation always predicts the same share."""

    def __post_init__(self) -> None:
        probabilities = {
            "mask_probability": self.mask_probability,
            "mask_probability_end": self.mask_probability_end,
        }
        for name, probability in probabilities.items():
            if probability is not None and not 0 < probability < 1:
                raise UserError(
                    f"data.masking.{name}={probability:g} must lie between 0 and "
                    "1, both excluded; BERT uses 0.15"
                )
        shares = {
            "mask_share": self.mask_share,
            "random_share": self.random_share,
            "keep_share": self.keep_share,
        }
        named = ", ".join(f"data.masking.{name}={share:g}" for name, share in shares.items())
        if any(not 0 <= share <= 1 for share in shares.values()):
            raise UserError(f"{named}: each share must lie between 0 and 1")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise UserError(
                f"{named} add up to {sum(shares.values()):g}; they must add up to 1, "
                "as in BERT's 0.8, 0.1, 0.1"
            )


@dataclass
class PairsConfig:
    """Which two segments make an example."""

    kind: PairKind = PairKind.sentence
    """`sentence`: two sentences, as in the textbook; `segment`: runs of sentences that fill an
    example, as in BERT; `none`: blocks of text, for masked language modelling alone."""
    task: PairTask = PairTask.nsp
    """What the label of a pair says: `nsp` or `sop`."""
    overlong: Overlong = Overlong.truncate
    """In `sentence`: whether the longer sentence is cut, or the pair left out."""
    short_probability: float = 0.1
    """In `segment`: share of the examples that are cut to a random shorter length."""

    def __post_init__(self) -> None:
        if not 0 <= self.short_probability <= 1:
            raise UserError(
                f"data.pairs.short_probability={self.short_probability:g} must lie between 0 and 1"
            )

    @property
    def fewest_documents(self) -> int:
        """Documents that a split must have: a random second half comes from another one."""
        return 2 if self.kind is not PairKind.none and self.task is PairTask.nsp else 1


@dataclass
class DataConfig:
    """The corpus, and the batches made from it."""

    source: Source = Source.hub
    """Where the text comes from."""
    name: str | None = None
    """What the corpus is called in the cache and in reports; null is the source's name."""
    path: str | None = None
    """A file, folder or pattern for `text`; for `hub` a folder with WikiText's files instead."""
    format: Format = Format.wikitext
    """How text becomes documents, paragraphs and words."""
    sentences: str | None = None
    """How a paragraph becomes sentences: wikitext (` . ` stands between them), prose (rules), line
    (none: a line is a sentence), pysbd (needs that package), or `module:function` of your own;
    null is what `format` is called."""
    fewest_sentences: int = 2
    """Paragraphs with fewer sentences are left out; 1 keeps those that give no sentence pair."""
    text_column: str = "text"
    """The column of a table (of the hub, .csv, .jsonl or .parquet) that holds the text."""
    hard_wrapped: bool = False
    """In `prose`, blank lines separate documents and each line is a paragraph. With this set, the
    line breaks between blank lines mean nothing: each block is one paragraph."""
    fallback: Fallback | None = Fallback.builtin
    """The corpus to use when the hub's cannot be had; null makes that an error."""
    hub_repository: str = "Salesforce/wikitext"
    """The hub's data set."""
    hub_name: str = "wikitext-2-v1"
    """The configuration within that data set."""
    hub_revision: str = "b08601e04326c79dfdd32d625aee71d232d685c3"
    """The commit of that data set: the same text for everyone."""
    streaming: bool = False
    """Whether the hub's text is read as it arrives, twice where a vocabulary is built, and only the
    prepared ids are kept: for what does not fit on the disk."""
    cache_dir: str | None = None
    """Where prepared corpora are kept; null is the platform's cache folder."""
    validation_share: float = 0.1
    """Share of the documents held out for validation, where the corpus has no such split."""
    test_share: float = 0.0
    """Share of the documents held out for the test, where the corpus has no such split."""
    max_length: int = 128
    """Most tokens in an example, `[CLS]` and `[SEP]` included; the longer sentence is cut."""
    global_batch_size: int = 512
    """Sentence pairs that one optimiser step sees, over all devices."""
    micro_batch_size: int | None = None
    """Sentence pairs that one device holds at a time, in the phase with the most tokens a step;
    null chooses the most that fits in every phase."""
    phases: list[PhaseConfig] | None = None
    """Stretches of the run with a length or a batch size of their own, in their order: BERT's are
    [{share: 0.9, max_length: 128}, {share: 0.1}]. Null is one phase. Evaluation has none."""
    num_workers: int = 0
    """Processes that build batches; 0 builds them in the training process."""
    pairs: PairsConfig = field(default_factory=PairsConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        sizes = {
            "global_batch_size": self.global_batch_size,
            "micro_batch_size": self.micro_batch_size,
        }
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise UserError(f"data.{name}={size} must be 1 or more")
        if self.num_workers < 0:
            raise UserError(f"data.num_workers={self.num_workers} must be 0 or more")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(
                f"data.name={self.name!r} names a folder of the cache: it must consist of letters, "
                "digits, '_', '-' and '.'"
            )
        if self.fewest_sentences < 1:
            raise UserError(f"data.fewest_sentences={self.fewest_sentences} must be 1 or more")
        if self.max_length < FEWEST_TOKENS:
            raise UserError(
                f"data.max_length={self.max_length} must be {FEWEST_TOKENS} or more: "
                "[CLS] a [SEP] b [SEP] takes five tokens at the least"
            )
        for name, share in {
            "validation_share": self.validation_share,
            "test_share": self.test_share,
        }.items():
            if not 0 <= share < 1:
                raise UserError(f"data.{name}={share:g} must be at least 0 and below 1")
        if self.validation_share + self.test_share >= 1:
            raise UserError(
                f"data.validation_share={self.validation_share:g} and "
                f"data.test_share={self.test_share:g} leave nothing to train on: "
                "their sum must stay below 1"
            )
        if self.phases is not None:
            check_phases(self.phases, self.max_length)
