"""Texts as sequences of tokens, before they join the others of a split."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from bert_lightning.batch import CLS, SEP
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.pairs import cut_to_fit


class TokenSequence(NamedTuple):
    """One sequence of tokens."""

    ids: list[int]
    first_length: int
    """Tokens of the first segment, with its `[CLS]` and `[SEP]`."""
    positions: list[int]
    """The places of the tokens that have an output."""


class Windows(NamedTuple):
    """What windows of contexts were cut from: where their outputs are in the text."""

    contexts: list[str]
    """The context of each question."""
    questions: np.ndarray
    """`(windows,)` int64: the number of each one's question, in their order."""
    characters: np.ndarray
    """`(outputs, 2)` int64: where each one's token starts and ends in its context; `[CLS]` at 0."""
    may_have_none: bool
    """Whether a question may have no answer."""


class Encoded(NamedTuple):
    """The sequences and labels of examples, in their order."""

    sequences: list[TokenSequence]
    labels: np.ndarray
    """`(labels,)`: one for each output, or one for all outputs of an example."""
    cut: int
    """Examples that were too long."""
    wordless: int = 0
    """Labelled words of which the tokenizer leaves nothing; each became `[UNK]`."""
    sequences_each: int = 1
    """Sequences that are one example, which no batch divides."""
    windows: Windows | None = None
    """Where sequences are windows of a longer text."""


def encode_texts(
    texts: Sequence[Sequence[str]], tokenizer: Tokenizer, max_length: int
) -> tuple[list[TokenSequence], list[bool]]:
    """Encodes sequences of one text or two each, whose output belongs to `[CLS]`.

    Too long texts are cut as in pretraining, of two the longer one first. Returns the sequences,
    and whether each was cut.
    """
    start, end = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
    everything = [text for parts in texts for text in parts]
    encodings = iter(tokenizer.encode_batch(everything, add_special_tokens=False))
    sequences, cut = [], list[bool]()
    for each in texts:
        parts = list(islice(encodings, len(each)))
        lengths = np.array([[len(part)] for part in parts])
        room = max_length - 1 - len(parts)
        cut.append(bool(lengths.sum() > room))
        if cut[-1]:
            pair = cut_to_fit(lengths[0], lengths[1] if len(parts) > 1 else np.array([0]), room)
            lengths = np.stack(pair)[: len(parts)]
        kept = [part.ids[: int(length[0])] for part, length in zip(parts, lengths, strict=True)]
        ids = [start, *(token for part in kept for token in (*part, end))]
        sequences.append(TokenSequence(ids, len(kept[0]) + 2, [0]))
    return sequences, cut
