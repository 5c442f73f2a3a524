"""The statistics of each token of a vocabulary: its frequency, and its length as text."""

import json
from typing import NamedTuple

import numpy as np

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.baselines import unigram_nll

COMMON, RARE = 1e-3, 1e-4
"""Fractions of the training split: a token with the first fraction or more is common, one below the
second is rare. On WikiText-2 a little less than half of the masked tokens are common, a quarter
rare."""
CLASSES = ("common", "middle", "rare", "unknown")
"""By frequency; `[UNK]` stands for many words and is a class of its own."""


class TokenStats(NamedTuple):
    """The statistics of all tokens, arrays `(vocab,)`."""

    group: np.ndarray
    """int64: the class of the token, as an index into `CLASSES`."""
    characters: np.ndarray
    """int64: the length of its text, without the mark of a wordpiece; 0 for special tokens."""
    is_piece: np.ndarray
    """bool: whether it continues a word (`##ing`)."""
    unigram_nll: np.ndarray
    """float64: its loss in the unigram baseline, in nats."""
    rank: np.ndarray
    """int64: its position among all tokens by decreasing frequency, from 0."""
    limits: tuple[int, int]
    """The least occurrences in the training split of a common token, and of a middle one."""


def token_stats(tokenizer: Tokenizer, counts: np.ndarray) -> TokenStats:
    """Returns the statistics of the tokens of a vocabulary.

    Args:
        tokenizer: the tokenizer.
        counts: `(vocab,)` how often each token occurs in the training split. There may be more
            counts than tokens, as a model may have rows that no token uses.
    """
    total = counts.sum()
    limits = int(np.ceil(COMMON * total)), int(np.ceil(RARE * total))
    group = np.select([counts >= limits[0], counts >= limits[1]], [0, 1], 2)
    group[special_id(tokenizer, UNK)] = 3
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    texts, is_piece = _texts(tokenizer, len(counts))
    return TokenStats(
        group=group.astype(np.int64),
        characters=np.fromiter(map(len, texts), np.int64, len(texts)),
        is_piece=is_piece,
        unigram_nll=unigram_nll(counts),
        rank=rank,
        limits=limits,
    )


def _texts(tokenizer: Tokenizer, rows: int) -> tuple[list[str], np.ndarray]:
    """Returns the text of each token, and whether it continues a word."""
    prefix = json.loads(tokenizer.to_str())["model"].get("continuing_subword_prefix") or ""
    texts, is_piece = [""] * rows, np.zeros(rows, dtype=bool)
    for token, number in tokenizer.get_vocab().items():
        if token in SPECIAL_TOKENS:
            continue
        is_piece[number] = bool(prefix) and token.startswith(prefix)
        text = token if prefix else tokenizer.decode([number])
        texts[number] = text.removeprefix(prefix).strip()
    return texts, is_piece
