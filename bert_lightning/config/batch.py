"""The batches: how long and how many examples are, which halves and masks they have."""

from dataclasses import dataclass, field
from enum import Enum

from bert_lightning.config.affects import (
    EXAMPLES,
    EXECUTION,
    LEARNING,
    check_limits,
    option,
    required,
)
from bert_lightning.errors import UserError

SHORTEST = ": [CLS] a [SEP] b [SEP] takes five tokens"


class PairKind(Enum):
    """What the two halves of an example are."""

    sentence = "sentence"
    segment = "segment"
    none = "none"


class PairTask(Enum):
    """What the label of a pair says."""

    nsp = "nsp"
    sop = "sop"


class Overlong(Enum):
    """What happens to two consecutive sentences that do not fit into an example."""

    truncate = "truncate"
    drop = "drop"


class MaskingUnit(Enum):
    """What is chosen, hidden and replaced as one."""

    token = "token"
    word = "word"
    span = "span"


@dataclass
class MaskingConfig:
    """Which tokens are predicted, and what replaces them."""

    mlm_probability: float = option(0.15, LEARNING, "; BERT uses 0.15", above=0, below=1)
    """Fraction of an example's tokens that are predicted; between 0 and 1, both excluded."""
    mask_replace_prob: float = option(0.8, LEARNING, at_least=0, at_most=1)
    """Fraction of the predicted tokens that `[MASK]` replaces."""
    random_replace_prob: float = option(0.1, LEARNING, at_least=0, at_most=1)
    """Fraction of the predicted tokens that a random word replaces; the rest stays unchanged."""
    unit: MaskingUnit = option(MaskingUnit.token, LEARNING)
    """What is chosen and replaced as one: a `token`, as in BERT; a `word`, as in its whole-word
    masking; or a `span` of words, as in SpanBERT."""
    mlm_probability_end: float | None = option(None, LEARNING, "; BERT uses 0.15", above=0, below=1)
    """The fraction of predicted tokens at the end of the run, which `mlm_probability` approaches
    linearly; null keeps `mlm_probability`. Evaluation always predicts the same fraction."""

    def __post_init__(self) -> None:
        check_limits(self, "batch.masking.")
        total = self.mask_replace_prob + self.random_replace_prob
        if total > 1 + 1e-6:
            raise UserError(
                f"batch.masking.mask_replace_prob={self.mask_replace_prob:g} and "
                f"batch.masking.random_replace_prob={self.random_replace_prob:g} add up to "
                f"{total:g}; they must add up to 1 at most, and the rest of the predicted tokens "
                "stays unchanged (BERT: 0.8, 0.1 and 0.1)"
            )


@dataclass
class PairsConfig:
    """Which two segments make an example."""

    kind: PairKind = option(PairKind.sentence, EXAMPLES)
    """`sentence`: two sentences, as in the textbook; `segment`: runs of sentences that fill an
    example, as in BERT; `none`: blocks of text, for masked language modeling alone."""
    task: PairTask = option(PairTask.nsp, EXAMPLES)
    """What the label of a pair says: whether the second half follows the first or is a random one
    (`nsp`, as in BERT), or whether the halves are in order or swapped (`sop`, as in ALBERT)."""
    across_paragraphs: bool = option(False, EXAMPLES)
    """In `sentence`: whether the last sentence of a paragraph and the first one of the next, of the
    same document, are a pair as well; pairs=document sets it, and keeps paragraphs of one sentence
    (data.min_sentences=1)."""
    overlong: Overlong = option(Overlong.truncate, EXAMPLES)
    """In `sentence`: whether the longer sentence is truncated, or the pair dropped."""
    short_seq_prob: float = option(0.1, EXAMPLES, at_least=0, at_most=1)
    """In `segment`: fraction of the examples that are truncated to a random shorter length."""

    def __post_init__(self) -> None:
        check_limits(self, "batch.pairs.")

    @property
    def min_documents(self) -> int:
        """Documents that a split must have: a random second half comes from another one."""
        return 2 if self.kind is not PairKind.none and self.task is PairTask.nsp else 1


@dataclass
class PhaseConfig:
    """A part of the run in which some options of the batches have values of their own."""

    fraction: float = required(LEARNING, above=0, at_most=1)
    """Of the run's optimizer steps; the fractions of all phases add up to 1."""
    max_length: int | None = option(None, LEARNING, SHORTEST, at_least=5)
    """Maximum tokens of an example, at most `batch.max_length`, which null stands for."""
    global_batch_size: int | None = option(None, LEARNING, at_least=1)
    """Examples of one optimizer step; null is `batch.global_batch_size`."""


@dataclass
class BatchConfig:
    """The batches that a run makes of its corpus."""

    max_length: int = option(128, EXAMPLES, SHORTEST, at_least=5)
    """Maximum tokens of an example, `[CLS]` and `[SEP]` included; the longer sentence is cut."""
    global_batch_size: int = option(128, LEARNING, at_least=1)
    """Examples that one optimizer step sees, over all devices."""
    micro_batch_size: int | None = option(None, LEARNING, at_least=1)
    """Examples that one device holds at a time, in the phase with the most tokens a step; null
    chooses the largest that fits into memory in every phase."""
    phases: list[PhaseConfig] | None = option(None, LEARNING)
    """Parts of the run with a length or a batch size of their own, in their order: BERT's are
    [{fraction: 0.9, max_length: 128}, {fraction: 0.1}]. Null is one phase. Evaluation has none."""
    num_workers: int = option(0, EXECUTION, at_least=0)
    """Processes that build batches; 0 builds them in the training process."""
    pairs: PairsConfig = field(default_factory=PairsConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        check_limits(self, "batch.")
        if self.phases is None:
            return
        if not self.phases:
            raise UserError(
                "batch.phases=[] divides the run into no phases: write "
                "[{fraction: 0.9, max_length: 128}, {fraction: 0.1}], or null for a run that is "
                "the same from its first step to its last"
            )
        for number, phase in enumerate(self.phases):
            check_limits(phase, f"batch.phases[{number}].")
            if (phase.max_length or 0) > self.max_length:
                raise UserError(
                    f"batch.phases[{number}].max_length={phase.max_length} is more than "
                    f"batch.max_length={self.max_length}, the length of the held-out examples: "
                    "shorten the one or raise the other"
                )
        total = sum(phase.fraction for phase in self.phases)
        if abs(total - 1) > 1e-6:
            fractions = ", ".join(f"{phase.fraction:g}" for phase in self.phases)
            raise UserError(
                f"the fractions of batch.phases, {fractions}, add up to {total:g}; they must add "
                "up to 1"
            )
