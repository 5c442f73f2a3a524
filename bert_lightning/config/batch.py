"""The batches: how long and how many examples are, which halves and masks they have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from bert_lightning.config.affects import EXAMPLES, EXECUTION, LEARNING, option, required
from bert_lightning.errors import UserError

MIN_TOKENS = 5
"""Of an example: `[CLS] a [SEP] b [SEP]`."""


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
    """Whether the two halves are in their order, or swapped (ALBERT)."""


class Overlong(Enum):
    """What happens to two consecutive sentences that do not fit into an example."""

    truncate = "truncate"
    drop = "drop"


class MaskingUnit(Enum):
    """What is chosen, hidden and replaced as one."""

    token = "token"
    """Each token by itself, as in BERT."""
    word = "word"
    """All tokens of a word, as in BERT's whole-word masking."""
    span = "span"
    """Words in a row, as in SpanBERT."""


@dataclass
class MaskingConfig:
    """Which tokens are predicted, and what replaces them."""

    mlm_probability: float = option(0.15, LEARNING)
    """Fraction of an example's tokens that are predicted; between 0 and 1, both excluded."""
    mask_replace_prob: float = option(0.8, LEARNING)
    """Fraction of the predicted tokens that `[MASK]` replaces."""
    random_replace_prob: float = option(0.1, LEARNING)
    """Fraction of the predicted tokens that a random word replaces; the rest stays unchanged."""
    unit: MaskingUnit = option(MaskingUnit.token, LEARNING)
    """What is chosen and replaced as one: a token, a whole word, or a span of words."""
    mlm_probability_end: float | None = option(None, LEARNING)
    """The fraction of predicted tokens at the end of the run, which `mlm_probability` approaches
    linearly; null keeps `mlm_probability`. Evaluation always predicts the same fraction."""

    def __post_init__(self) -> None:
        probabilities = {
            "mlm_probability": self.mlm_probability,
            "mlm_probability_end": self.mlm_probability_end,
        }
        for name, probability in probabilities.items():
            if probability is not None and not 0 < probability < 1:
                raise UserError(
                    f"batch.masking.{name}={probability:g} must lie between 0 and "
                    "1, both excluded; BERT uses 0.15"
                )
        replaced = {
            "mask_replace_prob": self.mask_replace_prob,
            "random_replace_prob": self.random_replace_prob,
        }
        given = ", ".join(f"batch.masking.{name}={value:g}" for name, value in replaced.items())
        if any(not 0 <= value <= 1 for value in replaced.values()):
            raise UserError(f"{given}: each must lie between 0 and 1")
        if sum(replaced.values()) > 1 + 1e-6:
            raise UserError(
                f"{given} add up to {sum(replaced.values()):g}; they must add up to 1 at most, and "
                "the rest of the predicted tokens stays unchanged (BERT: 0.8, 0.1 and 0.1)"
            )


@dataclass
class PairsConfig:
    """Which two segments make an example."""

    kind: PairKind = option(PairKind.sentence, EXAMPLES)
    """`sentence`: two sentences, as in the textbook; `segment`: runs of sentences that fill an
    example, as in BERT; `none`: blocks of text, for masked language modeling alone."""
    task: PairTask = option(PairTask.nsp, EXAMPLES)
    """What the label of a pair says: `nsp` or `sop`."""
    overlong: Overlong = option(Overlong.truncate, EXAMPLES)
    """In `sentence`: whether the longer sentence is truncated, or the pair dropped."""
    short_seq_prob: float = option(0.1, EXAMPLES)
    """In `segment`: fraction of the examples that are truncated to a random shorter length."""

    def __post_init__(self) -> None:
        if not 0 <= self.short_seq_prob <= 1:
            raise UserError(
                f"batch.pairs.short_seq_prob={self.short_seq_prob:g} must lie between 0 and 1"
            )

    @property
    def min_documents(self) -> int:
        """Documents that a split must have: a random second half comes from another one."""
        return 2 if self.kind is not PairKind.none and self.task is PairTask.nsp else 1


@dataclass
class PhaseConfig:
    """A part of the run in which some options of the batches have values of their own."""

    fraction: float = required(LEARNING)
    """Of the run's optimizer steps; the fractions of all phases add up to 1."""
    max_length: int | None = option(None, LEARNING)
    """Maximum tokens of an example, at most `batch.max_length`, which null stands for."""
    global_batch_size: int | None = option(None, LEARNING)
    """Examples of one optimizer step; null is `batch.global_batch_size`."""


@dataclass
class BatchConfig:
    """The batches that a run makes of its corpus."""

    max_length: int = option(128, EXAMPLES)
    """Maximum tokens of an example, `[CLS]` and `[SEP]` included; the longer sentence is cut."""
    global_batch_size: int = option(128, LEARNING)
    """Examples that one optimizer step sees, over all devices."""
    micro_batch_size: int | None = option(None, LEARNING)
    """Examples that one device holds at a time, in the phase with the most tokens a step; null
    chooses the largest that fits into memory in every phase."""
    phases: list[PhaseConfig] | None = option(None, LEARNING)
    """Parts of the run with a length or a batch size of their own, in their order: BERT's are
    [{fraction: 0.9, max_length: 128}, {fraction: 0.1}]. Null is one phase. Evaluation has none."""
    num_workers: int = option(0, EXECUTION)
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
                raise UserError(f"batch.{name}={size} must be 1 or more")
        if self.num_workers < 0:
            raise UserError(f"batch.num_workers={self.num_workers} must be 0 or more")
        if self.max_length < MIN_TOKENS:
            raise UserError(
                f"batch.max_length={self.max_length} must be {MIN_TOKENS} or more: "
                "[CLS] a [SEP] b [SEP] takes five tokens at least"
            )
        if self.phases is not None:
            _check_phases(self.phases, self.max_length)


def _check_phases(phases: Sequence[PhaseConfig], max_length: int) -> None:
    if not phases:
        raise UserError(
            "batch.phases=[] divides the run into no phases: write "
            "[{fraction: 0.9, max_length: 128}, {fraction: 0.1}], or null for a run that is the "
            "same from its first step to its last"
        )
    for number, phase in enumerate(phases):
        name, length, size = f"batch.phases[{number}]", phase.max_length, phase.global_batch_size
        if not 0 < phase.fraction <= 1:
            raise UserError(f"{name}.fraction={phase.fraction:g} must be above 0 and at most 1")
        if length is not None and length < MIN_TOKENS:
            raise UserError(f"{name}.max_length={length} must be {MIN_TOKENS} or more")
        if length is not None and length > max_length:
            raise UserError(
                f"{name}.max_length={length} is more than batch.max_length={max_length}, the "
                "length of the held-out examples: shorten the one or raise the other"
            )
        if size is not None and size < 1:
            raise UserError(f"{name}.global_batch_size={size} must be 1 or more")
    total = sum(phase.fraction for phase in phases)
    if abs(total - 1) > 1e-6:
        fractions = ", ".join(f"{phase.fraction:g}" for phase in phases)
        raise UserError(
            f"the fractions of batch.phases, {fractions}, add up to {total:g}; they must add up "
            "to 1"
        )
