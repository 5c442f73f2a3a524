"""Documents → flat ids, the starts of words, and the lengths of sentences and paragraphs."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from bert_lightning.corpus.splits import Document
from bert_lightning.corpus.tokenizer import Tokenizer, rows_needed, special_id
from bert_lightning.corpus.vocabulary.division import Divisible, at_punctuation, divisible
from bert_lightning.corpus.vocabulary.known import Known, Tokens
from bert_lightning.corpus.words import Segmenter
from bert_lightning.special_tokens import SPECIAL_TOKENS, UNK

_CHARACTERS = 1_000_000
"""Text that is encoded at a time: enough to keep all cores busy, and little memory."""
_WORDS_TOGETHER = 256
"""Words that the tokenizer gets as one text: each of them alone would take longer."""
_CHUNK_CHARACTERS = 4_000_000
"""Text that is held in memory before it is written."""


class EncodedDocuments(NamedTuple):
    """Consecutive documents as flat arrays; lengths are above 0, but for those of documents."""

    token_ids: np.ndarray
    word_starts: np.ndarray
    """`(tokens,)` bool: whether the token begins a word."""
    sentence_lengths: np.ndarray
    """`(sentences,)` in tokens."""
    paragraph_lengths: np.ndarray
    """`(paragraphs,)` in sentences."""
    document_lengths: np.ndarray
    """`(documents,)` in paragraphs; 0 for a document without a token."""


class TextEncoder:
    """Encodes documents without `[CLS]` and `[SEP]`; a "[SEP]" in the text is ordinary text.

    If the vocabulary finds it as a whole word nevertheless, it becomes an unknown word. Text is
    divided as far as the tokenizer allows, and each distinct part of it is tokenized once. A
    segmenter, which decides where words begin, gets whole sentences.
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter | None = None) -> None:
        self.tokenizer = tokenizer
        self.segmenter = segmenter
        special = [special_id(tokenizer, token) for token in SPECIAL_TOKENS]
        self._ids = np.arange(rows_needed(tokenizer))
        self._ids[special] = special_id(tokenizer, UNK)
        self._divisible = Divisible.NOWHERE if segmenter else divisible(tokenizer)
        in_parts = self._divisible is Divisible.AT_PUNCTUATION
        self._words = Known(self._of_parts if in_parts else self._tokens)
        self._parts = Known(self._tokens)

    def encode(self, documents: Sequence[Document]) -> EncodedDocuments:
        """Encodes documents; sentences and paragraphs without a token are omitted."""
        paragraphs = list(chain.from_iterable(documents))
        sentences = list(chain.from_iterable(paragraphs))
        if self._divisible is Divisible.NOWHERE:
            token_ids, word_starts, by_sentence = self._tokens(sentences)
        else:
            words = " ".join(sentences).split(" ")
            token_ids, word_starts, lengths = self._words.look_up(words)
            number = np.array([text.count(" ") + 1 for text in sentences])
            by_sentence = np.add.reduceat(lengths, np.cumsum(number) - number)
        in_sentences, by_paragraph = _without_empty(by_sentence, paragraphs)
        in_paragraphs, by_document = _without_empty(by_paragraph, documents)
        return EncodedDocuments(token_ids, word_starts, in_sentences, in_paragraphs, by_document)

    def _of_parts(self, words: list[str]) -> Tokens:
        parts = at_punctuation(words)
        ids, starts, lengths = self._parts.look_up(parts)
        spaces = np.fromiter((part == " " for part in parts), bool, len(parts))
        return Tokens(ids, starts, np.add.reduceat(lengths, np.flatnonzero(spaces)))

    def _tokens(self, texts: list[str]) -> Tokens:
        encoded = map(self._tokens_of_slice, _slices(texts))
        return Tokens(*map(np.concatenate, zip(*encoded, strict=True)))

    def _tokens_of_slice(self, texts: list[str]) -> Tokens:
        together = 1 if self._divisible is Divisible.NOWHERE else _WORDS_TOGETHER
        firsts = range(0, len(texts), together)
        groups = [" ".join(texts[first : first + together]) for first in firsts]
        self.tokenizer.encode_special_tokens = True
        try:
            encodings = self.tokenizer.encode_batch(groups, add_special_tokens=False)
        finally:
            self.tokenizer.encode_special_tokens = False
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        total = int(lengths.sum())
        ids = chain.from_iterable(encoding.ids for encoding in encodings)
        if self.segmenter:
            starts = self.segmenter.of_tokens(texts, (encoding.offsets for encoding in encodings))
        else:
            words = chain.from_iterable(encoding.word_ids for encoding in encodings)
            word = np.fromiter((-1 if w is None else w for w in words), np.int64, total)
            starts = (np.diff(word, prepend=-1) != 0) | (word == -1)
            starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
        if together > 1:
            begins = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
            places = (start for encoding in encodings for start, _ in encoding.offsets)
            first = np.fromiter(places, np.int64, total) + np.repeat(begins[::together], lengths)
            lengths = np.bincount(np.searchsorted(begins, first, "right") - 1, minlength=len(texts))
        return Tokens(self._ids[np.fromiter(ids, np.int64, total)], starts, lengths)


def _without_empty(inner: np.ndarray, outer: Sequence[Sized]) -> tuple[np.ndarray, np.ndarray]:
    """Drops the zeros of `inner`, and returns how many values of it are left in each `outer`."""
    kept = inner > 0
    lengths = np.fromiter(map(len, outer), np.int64, len(outer))
    return inner[kept], np.add.reduceat(kept, np.cumsum(lengths) - lengths, dtype=np.int64)


def _slices(sentences: list[str]) -> Iterator[list[str]]:
    """Yields consecutive sentences of about `_CHARACTERS` in all."""
    ends = np.cumsum(np.fromiter(map(len, sentences), np.int64, len(sentences)))
    borders = np.flatnonzero(np.diff(ends // _CHARACTERS)) + 1
    for start, end in pairwise([0, *borders.tolist(), len(sentences)]):
        yield sentences[start:end]


def in_chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yields consecutive documents of about `_CHUNK_CHARACTERS` in all."""
    waiting: list[Document] = []
    size = 0
    for document in documents:
        waiting.append(document)
        size += sum(len(sentence) for paragraph in document for sentence in paragraph)
        if size >= _CHUNK_CHARACTERS:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
