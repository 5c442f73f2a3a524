"""What a corpus says of each entry of a vocabulary: how frequent it is, and how long as text."""

import json
from typing import NamedTuple

import numpy as np

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.baselines import unigram_nll

COMMON, RARE = 1e-3, 1e-4
"""Shares of the training split's tokens: an entry of the first share or more is common, one below
the second is rare. On WikiText-2 a little less than half of the masked words are common, a quarter
rare."""
CLASSES = ("common", "middle", "rare", "unknown")
"""By frequency; `[UNK]` stands for many words and is a class of its own."""


class Vocabulary(NamedTuple):
    """What is known of each entry, all `(vocab,)`."""

    group: np.ndarray
    """int64: its index in `CLASSES`."""
    characters: np.ndarray
    """int64: of its text, without the mark of a piece; 0 for special tokens, which have none."""
    is_piece: np.ndarray
    """bool: whether it goes on within a word (`##ing`)."""
    unigram_nll: np.ndarray
    """float64: what it costs by its frequency alone, in nats."""
    rank: np.ndarray
    """int64: its place among all by falling frequency, from 0."""
    limits: tuple[int, int]
    """How often a common entry occurs at the least, and a middle one, in the training split."""


def describe(tokenizer: Tokenizer, counts: np.ndarray) -> Vocabulary:
    """Describes the entries of a tokenizer by their `counts` `(vocab,)` in a training split.

    There may be more counts than entries, as a model may have rows that no token uses.
    """
    total = counts.sum()
    limits = int(np.ceil(COMMON * total)), int(np.ceil(RARE * total))
    group = np.select([counts >= limits[0], counts >= limits[1]], [0, 1], 2)
    group[special_id(tokenizer, UNK)] = 3
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    texts, is_piece = _texts(tokenizer, len(counts))
    return Vocabulary(
        group=group.astype(np.int64),
        characters=np.fromiter(map(len, texts), np.int64, len(texts)),
        is_piece=is_piece,
        unigram_nll=unigram_nll(counts),
        rank=rank,
        limits=limits,
    )


def _texts(tokenizer: Tokenizer, rows: int) -> tuple[list[str], np.ndarray]:
    """The text of each entry, and whether it goes on within a word."""
    prefix = json.loads(tokenizer.to_str())["model"].get("continuing_subword_prefix") or ""
    texts, is_piece = [""] * rows, np.zeros(rows, dtype=bool)
    for token, number in tokenizer.get_vocab().items():
        if token in SPECIAL_TOKENS:
            continue
        is_piece[number] = bool(prefix) and token.startswith(prefix)
        text = token if prefix else tokenizer.decode([number])
        texts[number] = text.removeprefix(prefix).strip()
    return texts, is_piece
