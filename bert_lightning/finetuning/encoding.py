"""Labelled examples as token ids: what the batches of a task are cut from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from bert_lightning.batch import CLS, SEP, UNK
from bert_lightning.config.task import TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.pairs import cut_to_fit
from bert_lightning.finetuning.labelled.examples import LabelledExample


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
    """`(labels,)`: the place of each label's token within its sequence."""
    label_starts: np.ndarray
    """`(sequences + 1,)`: which labels each sequence has."""
    labels: np.ndarray
    """`(labels,)`: classes, int64, or numbers, float32."""
    cut: int
    """Examples that were too long: cut, or for `tokens` divided into several sequences."""
    wordless: int
    """Labelled words of which the tokenizer leaves nothing; each became `[UNK]`."""

    def __len__(self) -> int:
        return len(self.first_lengths)


class _Sequence(NamedTuple):
    """One sequence of tokens, before it joins the others."""

    ids: list[int]
    first_length: int
    positions: list[int]
    """The places of its labels."""


def encode_split(
    examples: Sequence[LabelledExample],
    kind: TaskKind,
    names: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
) -> EncodedSplit:
    """Encodes the examples of a split, in their order.

    Too long texts are cut as in pretraining: of two, the longer one first. Too long sequences of
    labelled words are divided between two words, so that each label is there once.
    """
    encode = _words if kind is TaskKind.tokens else _texts
    sequences, cut, wordless = encode(examples, tokenizer, max_length)
    numbers = {name: number for number, name in enumerate(names)}
    labels: np.ndarray
    if kind is TaskKind.number:
        labels = np.array([example.label for example in examples], np.float32)
    else:
        of_each = [
            example.label if isinstance(example.label, list) else [example.label]
            for example in examples
        ]
        labels = np.array([numbers[str(name)] for each in of_each for name in each], np.int64)
    positions = [place for sequence in sequences for place in sequence.positions]
    assert len(positions) == len(labels)
    return EncodedSplit(
        token_ids=np.array([token for sequence in sequences for token in sequence.ids], np.int64),
        starts=_offsets(len(sequence.ids) for sequence in sequences),
        first_lengths=np.array([sequence.first_length for sequence in sequences], np.int64),
        positions=np.array(positions, np.int64),
        label_starts=_offsets(len(sequence.positions) for sequence in sequences),
        labels=labels,
        cut=cut,
        wordless=wordless,
    )


def _offsets(lengths: Iterator[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])


def _texts(
    examples: Sequence[LabelledExample], tokenizer: Tokenizer, max_length: int
) -> tuple[list[_Sequence], int, int]:
    """Encodes one text or two of each example; the label belongs to `[CLS]`."""
    start, end = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
    texts = [text for example in examples for text in example.texts]
    encodings = iter(tokenizer.encode_batch(texts, add_special_tokens=False))
    sequences, cut = [], 0
    for example in examples:
        parts = list(islice(encodings, len(example.texts)))
        lengths = np.array([[len(part)] for part in parts])
        room = max_length - 1 - len(parts)
        if lengths.sum() > room:
            cut += 1
            pair = cut_to_fit(lengths[0], lengths[1] if len(parts) > 1 else np.array([0]), room)
            lengths = np.stack(pair)[: len(parts)]
        kept = [part.ids[: int(length[0])] for part, length in zip(parts, lengths, strict=True)]
        ids = [start, *(token for part in kept for token in (*part, end))]
        sequences.append(_Sequence(ids, len(kept[0]) + 2, [0]))
    return sequences, cut, 0


def _words(
    examples: Sequence[LabelledExample], tokenizer: Tokenizer, max_length: int
) -> tuple[list[_Sequence], int, int]:
    """Encodes labelled words; the label of each belongs to its first token."""
    start, end = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
    unknown, sequences = special_id(tokenizer, UNK), list[_Sequence]()
    cut = wordless = 0
    for example in examples:
        pieces = [
            encoding.ids
            for encoding in tokenizer.encode_batch(list(example.texts), add_special_tokens=False)
        ]
        wordless += sum(not ids for ids in pieces)
        pieces = [ids[: max_length - 2] or [unknown] for ids in pieces]
        bounds = _windows([len(ids) for ids in pieces], max_length - 2)
        cut += len(bounds) > 2
        for first, last in pairwise(bounds):
            ids, positions = [start], list[int]()
            for word in pieces[first:last]:
                positions.append(len(ids))
                ids += word
            sequences.append(_Sequence([*ids, end], len(ids) + 1, positions))
    return sequences, cut, wordless


def _windows(lengths: Sequence[int], room: int) -> list[int]:
    """Returns where sequences of at most `room` tokens begin, counted in words, and the end.

    >>> _windows([2, 2, 3, 1, 4], room=4)
    [0, 2, 4, 5]
    """
    bounds, used = [0], 0
    for word, length in enumerate(lengths):
        if used + length > room:
            bounds.append(word)
            used = 0
        used += length
    return [*bounds, len(lengths)]
