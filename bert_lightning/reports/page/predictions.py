"""What a model says of a few held-out sentences and pairs, always the same ones of a corpus."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from bert_lightning.batch import CLS, IGNORE_INDEX, IS_NEXT, MASK, SEP, SPECIAL_TOKENS, UNK
from bert_lightning.batch import pack_sequences as packed
from bert_lightning.corpus.shards.split import sample_of
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.model.bert import BertForPreTraining, inference_mode

FEWEST, MOST = 8, 24
"""Tokens of a sentence that is short enough to read and long enough to guess from."""
_SENTENCES, _PAIRS, _TOP = 9, 8, 3
_MOST_OF_PAIR = 60
"""Tokens of a pair that is shown."""
_LOOKED_AT = 2000
"""Sentences or pairs after one that is too long, before the next place is tried."""


@dataclass(frozen=True)
class Guess:
    """A masked token of a sentence."""

    before: str
    after: str
    right: str
    probability: float
    """Of the right token."""
    top: list[tuple[str, float]]
    """The likeliest tokens and their probabilities, special tokens left out."""


@dataclass(frozen=True)
class PairGuess:
    """Whether a text follows another."""

    first: str
    second: str
    follows: bool
    probability: float
    """That it does, to the model."""


def predictions(
    model: BertForPreTraining, corpus: PreparedCorpus, validation: EvaluationSet | None, step: int
) -> dict[str, Any]:
    """Returns the guesses of a model after a step, in plain values.

    They are about held-out text; about training text, where a corpus holds none out. Pairs are
    those of the evaluation set, and none where it has no labels.
    """
    split = "train" if validation is None else "validation"
    with inference_mode(model):
        guesses = [*_masked(model, sample_of(corpus.splits[split]), corpus.tokenizer)]
        pairs = [] if validation is None else [*_pairs(model, validation)]
    return {
        "step": step,
        "split": split,
        "sentences": [asdict(guess) for guess in guesses],
        "pairs": [asdict(guess) for guess in pairs],
    }


def _masked(model: BertForPreTraining, split: Split, tokenizer: Tokenizer) -> Iterator[Guess]:
    """Masks the middle token of short sentences, spread over a split."""
    cls, sep, mask, unknown = (special_id(tokenizer, name) for name in (CLS, SEP, MASK, UNK))
    most = min(MOST, model.config.max_position_embeddings - 2)
    chosen = [*_sentences(split, most, unknown)]
    if not chosen:
        return
    lengths = np.array([len(ids) + 2 for ids in chosen])
    places = [len(ids) // 2 for ids in chosen]
    rows = [[cls, *ids, sep] for ids in chosen]
    for row, place in zip(rows, places, strict=True):
        row[place + 1] = mask
    token_ids = np.concatenate(rows)
    device = model.nsp_head.weight.device
    sequences = packed(token_ids, np.zeros_like(token_ids), lengths).on(device)
    positions = sequences.cu_seqlens[:-1] + torch.tensor(places, device=device) + 1
    logits = model.mlm_head(model(sequences).hidden[positions])
    probabilities = logits.float().softmax(-1).cpu()  # (sentences, vocabulary)
    vocabulary = probabilities.shape[1]
    for number, (ids, place) in enumerate(zip(chosen, places, strict=True)):
        values, tokens = probabilities[number].topk(min(_TOP + len(SPECIAL_TOKENS), vocabulary))
        found = zip(values.tolist(), tokens.tolist(), strict=True)
        ranked = ((tokenizer.id_to_token(token), p) for p, token in found)
        words = ((token, p) for token, p in ranked if token and token not in SPECIAL_TOKENS)
        yield Guess(
            before=_text(tokenizer, ids[:place]),
            after=_text(tokenizer, ids[place + 1 :]),
            right=str(tokenizer.id_to_token(ids[place])),
            probability=float(probabilities[number, ids[place]]),
            top=[*islice(words, _TOP)],
        )


def _sentences(split: Split, most: int, unknown: int) -> Iterator[list[int]]:
    """Yields sentences without unknown words, from the start of equal parts of a split."""
    starts = np.linspace(0, split.sentences, _SENTENCES, endpoint=False).astype(int)
    for start in np.unique(starts).tolist():
        for sentence in range(start, min(start + _LOOKED_AT, split.sentences)):
            first, last = split.sentence_starts[sentence : sentence + 2]
            if FEWEST <= last - first <= most and unknown not in split.token_ids[first:last]:
                yield split.token_ids[first:last].astype(np.int64).tolist()
                break


def _pairs(model: BertForPreTraining, validation: EvaluationSet) -> Iterator[PairGuess]:
    """Takes short pairs of the evaluation set, spread over it, without their masks."""
    builder = validation.batches(_PAIRS).examples
    starts = np.linspace(0, len(builder), _PAIRS, endpoint=False).astype(int)
    index = np.unique(
        np.concatenate([np.arange(s, min(s + _LOOKED_AT, len(builder))) for s in starts])
    )
    pairs = builder.pairs(index, np.zeros_like(index))
    short = np.flatnonzero((pairs.lengths <= _MOST_OF_PAIR) & (pairs.nsp_labels != IGNORE_INDEX))
    if not len(short):
        return
    nearest = np.minimum(np.searchsorted(index[short], starts), len(short) - 1)
    tokenizer, ids = validation.corpus.tokenizer, builder.split.token_ids
    cls, sep = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
    rows, types, texts = list[list[int]](), list[list[int]](), list[tuple[str, str, bool]]()
    for place in np.unique(short[nearest]).tolist():
        first, second = (
            ids[start[place] : start[place] + length[place]].astype(np.int64).tolist()
            for start, length in (
                (pairs.first_start, pairs.first_length),
                (pairs.second_start, pairs.second_length),
            )
        )
        rows.append([cls, *first, sep, *second, sep])
        types.append([0] * (len(first) + 2) + [1] * (len(second) + 1))
        follows = bool(pairs.nsp_labels[place] == IS_NEXT)
        texts.append((_text(tokenizer, first), _text(tokenizer, second), follows))
    lengths = np.array([len(row) for row in rows])
    sequences = packed(np.concatenate(rows), np.concatenate(types), lengths)
    pooled = model(sequences.on(model.nsp_head.weight.device)).pooled
    probabilities = model.nsp_head(pooled).float().softmax(-1)[:, IS_NEXT].tolist()
    for (one, other, follows), probability in zip(texts, probabilities, strict=True):
        yield PairGuess(one, other, follows, probability)


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)
