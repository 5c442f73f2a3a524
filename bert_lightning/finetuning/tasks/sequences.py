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


def encode_texts(
    texts: Sequence[Sequence[str]], tokenizer: Tokenizer, max_length: int
) -> tuple[list[TokenSequence], int]:
    """Encodes sequences of one text or two each, whose output belongs to `[CLS]`.

    Too long texts are cut as in pretraining, of two the longer one first. Returns the sequences,
    and how many were cut.
    """
    start, end = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
    everything = [text for parts in texts for text in parts]
    encodings = iter(tokenizer.encode_batch(everything, add_special_tokens=False))
    sequences, cut = [], 0
    for each in texts:
        parts = list(islice(encodings, len(each)))
        lengths = np.array([[len(part)] for part in parts])
        room = max_length - 1 - len(parts)
        if lengths.sum() > room:
            cut += 1
            pair = cut_to_fit(lengths[0], lengths[1] if len(parts) > 1 else np.array([0]), room)
            lengths = np.stack(pair)[: len(parts)]
        kept = [part.ids[: int(length[0])] for part, length in zip(parts, lengths, strict=True)]
        ids = [start, *(token for part in kept for token in (*part, end))]
        sequences.append(TokenSequence(ids, len(kept[0]) + 2, [0]))
    return sequences, cut
