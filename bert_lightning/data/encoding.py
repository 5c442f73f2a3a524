"""Documents → flat ids, where words begin, and how long sentences, paragraphs and documents are."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.data.corpus import Document
from bert_lightning.data.tokenizer import Tokenizer, special_id

_CHARACTERS = 1_000_000
"""Text that is encoded at a time: enough to keep all cores busy, little enough for any memory."""


class Encoded(NamedTuple):
    """Some documents, one after the other."""

    token_ids: np.ndarray
    """`(tokens,)`"""
    word_starts: np.ndarray
    """`(tokens,)` bool: whether the token begins a word."""
    sentence_lengths: np.ndarray
    """`(sentences,)` in tokens, none of them 0."""
    paragraph_lengths: np.ndarray
    """`(paragraphs,)` in sentences, none of them 0."""
    document_lengths: np.ndarray
    """`(documents,)` in paragraphs, none of them 0."""


class Encoder:
    """Encodes without `[CLS]` and `[SEP]`; a "[SEP]" in the text is mere text.

    Where the vocabulary would find it as a whole word all the same, it is an unknown word.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        unknown = special_id(tokenizer, UNK)
        self._ids = np.arange(max(tokenizer.get_vocab().values()) + 1)
        self._ids[[special_id(tokenizer, token) for token in SPECIAL_TOKENS]] = unknown
        # A word-level model makes one token of each word; of others the encodings say it, slowly.
        self._words_are_tokens = type(tokenizer.model).__name__ == "WordLevel"

    def encode(self, documents: Sequence[Document]) -> Encoded:
        """Encodes documents; a sentence, paragraph or document without any token is left out."""
        paragraphs = list(chain.from_iterable(documents))
        parts = [self._tokens(some) for some in _slices(list(chain.from_iterable(paragraphs)))]
        token_ids, word_starts, lengths = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        sentence_lengths, paragraph_lengths = _without_empty(lengths, list(map(len, paragraphs)))
        paragraph_lengths, document_lengths = _without_empty(
            paragraph_lengths, list(map(len, documents))
        )
        return Encoded(
            token_ids,
            word_starts,
            sentence_lengths,
            paragraph_lengths,
            document_lengths[document_lengths > 0],
        )

    def _tokens(self, sentences: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokenizer = self.tokenizer
        encode = tokenizer.encode_batch_fast if self._words_are_tokens else tokenizer.encode_batch
        tokenizer.encode_special_tokens = True
        try:
            encodings = encode(sentences, add_special_tokens=False)
        finally:
            tokenizer.encode_special_tokens = False
        ids = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        token_ids = self._ids[np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))]
        if self._words_are_tokens:
            return token_ids, np.ones(len(token_ids), dtype=bool), lengths
        return token_ids, _word_starts(encodings, lengths), lengths


def _word_starts(encodings: Sequence[Any], lengths: np.ndarray) -> np.ndarray:
    words = chain.from_iterable(encoding.word_ids for encoding in encodings)
    word = np.fromiter(
        (-1 if number is None else number for number in words), np.int64, int(lengths.sum())
    )
    starts = (np.diff(word, prepend=-1) != 0) | (word == -1)
    first = np.cumsum(lengths) - lengths
    starts[first[lengths > 0]] = True
    return starts


def _without_empty(inner: np.ndarray, outer: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Drops the empty ones of `inner` and counts what is left in each of `outer`."""
    kept = inner > 0
    lengths = np.asarray(outer, dtype=np.int64)
    if kept.all():
        return inner, lengths
    return inner[kept], np.add.reduceat(kept, np.cumsum(lengths) - lengths, dtype=np.int64)


def _slices(sentences: list[str]) -> Iterator[list[str]]:
    """Consecutive sentences of about `_CHARACTERS` each time."""
    ends = np.cumsum(np.fromiter(map(len, sentences), np.int64, len(sentences)))
    borders = np.flatnonzero(np.diff(ends // _CHARACTERS)) + 1
    for start, end in zip([0, *borders.tolist()], [*borders.tolist(), len(sentences)], strict=True):
        yield sentences[start:end]
