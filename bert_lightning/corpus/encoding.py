"""Documents → flat ids, the starts of words, and the lengths of sentences and paragraphs."""

import json
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain, count, pairwise
from typing import NamedTuple

import numpy as np

from bert_lightning.corpus.splits import Document
from bert_lightning.corpus.tokenizer import Tokenizer, rows_needed, special_id
from bert_lightning.corpus.vocabulary.spelling import ACCENTS, INVISIBLE
from bert_lightning.corpus.words import Segmenter
from bert_lightning.special_tokens import SPECIAL_TOKENS, UNK

_CHARACTERS = 1_000_000
"""Text that is encoded at a time: enough to keep all cores busy, and little memory."""
_CHUNK_CHARACTERS = 4_000_000
"""Text that is held in memory before it is written."""
_MOST_KNOWN = 500_000
"""Distinct words whose ids are remembered."""

_SPLIT_AT_SPACES = {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}
_PRE_TOKENIZERS = _SPLIT_AT_SPACES | {"Punctuation", "Digits", "Split"}
_NORMALIZERS = {
    *("Lowercase", "StripAccents", "BertNormalizer", "Replace"),
    *("NFC", "NFD", "NFKC", "NFKD"),
}
_PATTERNS = {None, ACCENTS, INVISIBLE}
"""Parts of a tokenizer that treat a word alike, whatever stands beyond the spaces around it."""


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

    If the vocabulary finds it as a whole word nevertheless, it becomes an unknown word. If the
    tokenizer never looks across a space, each distinct word is encoded once and then looked up.
    A segmenter, which decides where words begin, gets whole sentences.
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter | None = None) -> None:
        self.tokenizer = tokenizer
        self.segmenter = segmenter
        special = [special_id(tokenizer, token) for token in SPECIAL_TOKENS]
        self._ids = np.arange(rows_needed(tokenizer))
        self._ids[special] = special_id(tokenizer, UNK)
        self._by_word = segmenter is None and _never_looks_across_a_space(tokenizer)
        self._forget()

    def _forget(self) -> None:
        self._place: dict[str, int] = {}
        self._known: tuple[np.ndarray, ...] = np.zeros(0, int), np.zeros(0, bool), np.zeros(0, int)

    def encode(self, documents: Sequence[Document]) -> EncodedDocuments:
        """Encodes documents; sentences and paragraphs without a token are omitted."""
        paragraphs = list(chain.from_iterable(documents))
        sentences = chain.from_iterable(paragraphs)
        texts = [text.split(" ") if self._by_word else [text] for text in sentences]
        token_ids, word_starts, lengths = self._look_up(list(chain.from_iterable(texts)))
        number = np.fromiter(map(len, texts), np.int64, len(texts))
        by_sentence = np.add.reduceat(lengths, np.cumsum(number) - number)
        in_sentences, by_paragraph = _without_empty(by_sentence, paragraphs)
        in_paragraphs, by_document = _without_empty(by_paragraph, documents)
        return EncodedDocuments(token_ids, word_starts, in_sentences, in_paragraphs, by_document)

    def _look_up(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the ids and word starts of some texts, and the number of tokens in each."""
        if len(self._place) > _MOST_KNOWN or not self._by_word:
            self._forget()
        new = list(set(texts).difference(self._place))
        if new:
            self._place.update(zip(new, count(len(self._place))))
            encoded = [self._known, *map(self._tokens, _slices(new))]
            self._known = tuple(map(np.concatenate, zip(*encoded, strict=True)))
        ids, word_starts, known_lengths = self._known
        place = np.fromiter(map(self._place.__getitem__, texts), np.int64, len(texts))
        lengths = known_lengths[place]
        start = (np.cumsum(known_lengths) - known_lengths)[place]
        source = np.repeat(start - (np.cumsum(lengths) - lengths), lengths)
        source += np.arange(len(source))
        return ids[source], word_starts[source], lengths

    def _tokens(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.tokenizer.encode_special_tokens = True
        try:
            encodings = self.tokenizer.encode_batch(texts, add_special_tokens=False)
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
        return self._ids[np.fromiter(ids, np.int64, total)], starts, lengths


def _never_looks_across_a_space(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of a text are those of its words between spaces, one after the other."""
    parts = json.loads(tokenizer.to_str())
    normalizers, pre_tokenizers = (
        part.get("normalizers", part.get("pretokenizers", [part])) if part else []
        for part in (parts["normalizer"], parts["pre_tokenizer"])
    )
    return (
        all(part["type"] in _NORMALIZERS for part in normalizers)
        and all(" " not in part.get("pattern", {}).get("String", "") for part in normalizers)
        and all(part.get("pattern", {}).get("Regex") in _PATTERNS for part in normalizers)
        and all(part["type"] in _PRE_TOKENIZERS for part in pre_tokenizers)
        and any(part["type"] in _SPLIT_AT_SPACES for part in pre_tokenizers[:1])
        and all(token["special"] for token in parts["added_tokens"])
    )


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
