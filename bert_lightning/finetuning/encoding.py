"""Labelled examples as token ids: what the batches of a task are cut from."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bert_lightning.batch import CLS, SEP, UNK
from bert_lightning.config.task import TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.shortcomings import MOST_UNKNOWN
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.finetuning.tasks.sequences import Windows


@dataclass(frozen=True, eq=False)
class EncodedSplit:
    """The sequences of a split, one after another, and the labels in them."""

    token_ids: np.ndarray
    """`(tokens,)` int64, `[CLS]` and `[SEP]` included."""
    starts: np.ndarray
    """`(sequences + 1,)`: where each sequence starts in `token_ids`, and `tokens`."""
    first_lengths: np.ndarray
    """`(sequences,)`: tokens of the first segment, with its `[CLS]` and `[SEP]`."""
    positions: np.ndarray
    """`(outputs,)`: the place, within its sequence, of each token that has an output."""
    output_starts: np.ndarray
    """`(sequences + 1,)`: which outputs each sequence has."""
    labels: np.ndarray
    """`(labels,)`: classes, int64, or numbers, float32; `(labels, 2)` first and last tokens."""
    widths: np.ndarray
    """`(labels,)`: from how many outputs each label is read."""
    sequences_each: int
    """Sequences that are one example, which no batch divides."""
    cut: int
    """Examples that were too long: cut, or for `tokens` divided into several sequences."""
    wordless: int
    """Labelled words of which the tokenizer leaves nothing; each became `[UNK]`."""
    unknown: float
    """The fraction of the tokens, without `[CLS]` and `[SEP]`, that are `[UNK]`."""
    windows: Windows | None = None
    """Where sequences are windows of a longer text."""

    def __len__(self) -> int:
        return len(self.first_lengths) // self.sequences_each

    @cached_property
    def label_starts(self) -> np.ndarray:
        """`(examples + 1,)`: which labels each example has."""
        starts = _offsets(self.widths)
        return np.searchsorted(starts, self.output_starts[:: self.sequences_each])


def encode_split(
    examples: Sequence[LabelledExample],
    kind: TaskKind,
    names: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
) -> EncodedSplit:
    """Encodes the examples of a split, in their order."""
    found = task_of(kind).encode(examples, names, tokenizer, max_length)
    sequences, each = found.sequences, found.sequences_each
    positions = [place for sequence in sequences for place in sequence.positions]
    output_starts = _offsets(len(sequence.positions) for sequence in sequences)
    widths = np.ones(len(positions), np.int64)
    if len(found.labels) < len(positions):
        widths = np.diff(output_starts[::each])
    assert len(widths) == len(found.labels)
    token_ids = np.array([token for sequence in sequences for token in sequence.ids], np.int64)
    frame = [special_id(tokenizer, token) for token in (CLS, SEP)]
    unknown = token_ids[~np.isin(token_ids, frame)] == special_id(tokenizer, UNK)
    return EncodedSplit(
        token_ids=token_ids,
        starts=_offsets(len(sequence.ids) for sequence in sequences),
        first_lengths=np.array([sequence.first_length for sequence in sequences], np.int64),
        positions=np.array(positions, np.int64),
        output_starts=output_starts,
        labels=found.labels,
        widths=widths,
        sequences_each=each,
        cut=found.cut,
        wordless=found.wordless,
        unknown=float(unknown.mean()) if len(unknown) else 0.0,
        windows=found.windows,
    )


def tell_unknown(train: EncodedSplit, log: logging.Logger) -> None:
    """Says which fraction of the training tokens is `[UNK]`, and warns where it is large."""
    if train.unknown > MOST_UNKNOWN:
        log.warning(
            "%s of the training tokens are [UNK], more than %s: the model's vocabulary does not "
            "fit these texts; one that was pretrained with tokenizer=wordpiece reads rare words "
            "in pieces",
            *(f"{fraction:.1%}" for fraction in (train.unknown, MOST_UNKNOWN)),
        )
    elif train.unknown:
        log.info("%s of the training tokens are [UNK]", f"{train.unknown:.1%}")


def _offsets(lengths: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])
