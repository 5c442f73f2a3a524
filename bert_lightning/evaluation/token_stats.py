"""The statistics of each token of a vocabulary: its frequency, and its length as text."""

import json
from typing import NamedTuple

import numpy as np

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.baselines import unigram_nll

COMMON, RARE = 1e-3, 1e-4
"""The fractions of the training split from which on a token is common, or below which it is rare.
On WikiText-2 a little less than half of the masked tokens are common, a quarter rare."""
CLASSES = ("common", "middle", "rare", "unknown")
"""By frequency; `[UNK]` stands for many words and is a class of its own."""
UNKNOWN = CLASSES.index("unknown")


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
    """Returns the statistics of tokens that occur `counts` `(vocab,)` times in the training split.

    There may be more counts than tokens, as a model may have rows that no token uses.
    """
    total = counts.sum()
    limits = int(np.ceil(COMMON * total)), int(np.ceil(RARE * total))
    group = np.select([counts >= limits[0], counts >= limits[1]], [0, 1], 2)
    group[special_id(tokenizer, UNK)] = UNKNOWN
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    prefix = json.loads(tokenizer.to_str())["model"].get("continuing_subword_prefix") or ""
    characters, is_piece = np.zeros(len(counts), np.int64), np.zeros(len(counts), bool)
    for token, number in tokenizer.get_vocab().items():
        if token not in SPECIAL_TOKENS:
            is_piece[number] = bool(prefix) and token.startswith(prefix)
            text = token if prefix else tokenizer.decode([number])
            characters[number] = len(text.removeprefix(prefix).strip())
    return TokenStats(
        group=group.astype(np.int64),
        characters=characters,
        is_piece=is_piece,
        unigram_nll=unigram_nll(counts),
        rank=rank,
        limits=limits,
    )
