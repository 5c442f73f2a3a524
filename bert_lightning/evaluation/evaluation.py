"""A model's scores on a held-out split, each beside what can be had without context."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from bert_lightning.config import BatchConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.baselines import count_tokens, pair_baselines
from bert_lightning.data.batches import EvaluationBatches
from bert_lightning.data.length_baseline import describe_labels
from bert_lightning.data.statistics import MOST_EXAMPLES, training_sample
from bert_lightning.errors import UserError
from bert_lightning.evaluation.scores import HeldOutSums, Questions, answer, questions
from bert_lightning.evaluation.token_stats import CLASSES, Vocabulary, describe
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.pretrained.sources import PretrainedSource, build
from bert_lightning.terminal import tracked

MICRO_BATCH = 64
"""Examples at a time where the options say nothing; no number depends on it."""
_READ_TOGETHER = 512
"""Examples of which the floor from lengths alone is read."""
_DIVERGED = 500.0
"""Nats a token at which a model's loss is no number to report."""


@dataclass(frozen=True)
class MaskedScores:
    """The masked tokens of one class, or all of them. Losses are nats a token."""

    masked: int
    share: float
    loss: float
    loss_baseline: float
    """Each predicted by its frequency in the training split."""
    accuracy: float
    accuracy_baseline: float
    """The training split's most frequent entry predicted everywhere."""
    accuracy_at_5: float
    accuracy_at_5_baseline: float
    """Its five most frequent entries predicted everywhere."""


@dataclass(frozen=True)
class MaskedResult:
    """Masked language modelling."""

    all: MaskedScores
    classes: dict[str, MaskedScores]
    """By frequency in the training split; a class without masked tokens is left out."""
    common_from: int
    """How often an entry of the class `common` occurs in the training split, at the least."""
    middle_from: int
    """The same of `middle`; what is rarer is `rare`, and `[UNK]` is `unknown`."""
    perplexity: float
    """exp(loss): only of models with the same vocabulary."""
    perplexity_baseline: float
    bits_per_character: float | None
    """Bits that all masked tokens cost, over the characters of their texts; `[UNK]` costs, and has
    no characters. None where all are unknown."""
    bits_per_character_baseline: float | None
    characters: int
    piece_fraction: float
    """Masked tokens that go on within a word, whose other pieces the model may see."""


@dataclass(frozen=True)
class PairResult:
    """Next-sentence prediction, or the order of sentences. Losses are nats a pair."""

    pairs: int
    loss: float
    loss_baseline: float
    """Every pair predicted by the share of the labels."""
    accuracy: float
    accuracy_baseline: float
    """The more frequent label predicted everywhere."""
    length_only_accuracy: float
    """A logistic regression on the two lengths, fitted to training pairs."""


@dataclass(frozen=True)
class Evaluation:
    """One model on one held-out split."""

    model: str
    step: int | None
    """Optimiser steps of its run; None where it is no run's."""
    parameters: int
    vocab_size: int
    """Entries of its tokenizer."""
    corpus: str
    corpus_origin: str
    fallback_reason: str | None
    """Why another corpus than the wanted one was used, if so."""
    text_sha256: str
    """Of the text and of how it becomes sentences: the same for every tokenizer."""
    questions_sha256: str
    """Of what was asked; see :func:`held_out.questions`."""
    split: str
    examples: int
    tokens: int
    max_length: int
    pairs: dict[str, Any]
    """The options that examples are made with."""
    mlm: MaskedResult
    nsp: PairResult | None
    """None without labelled pairs, or without the head."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def evaluate(
    source: PretrainedSource, corpus: PreparedCorpus, config: BatchConfig, split: str
) -> Evaluation:
    """Asks a model the questions of a split, in fp32, on a GPU where there is one.

    Raises:
        UserError: there is no such split, the model has no head for masked tokens, or its loss is
            not finite.
    """
    if split not in corpus.splits:
        raise UserError(
            f"{corpus.origin} has no {split} split, only {', '.join(corpus.splits)}; "
            f"data.{split}_fraction=0.1 holds one out of text that comes without"
        )
    bert = PretrainedBert(build(source), source.tokenizer, source.missing_heads)
    bert.require("mlm_head")
    held_out = EvaluationBatches(corpus, split, config, config.micro_batch_size or MICRO_BATCH)
    asked = questions(held_out[i] for i in range(len(held_out)))
    counts = count_tokens(corpus.splits["train"], source.vocab_size)
    vocabulary = describe(corpus.tokenizer, counts)
    model = bert.model.float().to("cuda" if torch.cuda.is_available() else "cpu")
    batches = tracked((held_out[i] for i in range(len(held_out))), len(held_out), "evaluating")
    sums = answer(model, batches, vocabulary)
    heads = source.missing_heads.isdisjoint({"pooler", "nsp_head"})
    return Evaluation(
        model=source.name,
        step=source.about.get("step"),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=corpus.tokenizer.get_vocab_size(),
        corpus=corpus.name,
        corpus_origin=corpus.origin,
        fallback_reason=corpus.fallback_reason,
        text_sha256=corpus.text_key,
        questions_sha256=asked.sha256,
        split=split,
        examples=asked.examples,
        tokens=asked.tokens,
        max_length=config.max_length,
        pairs=to_plain(asdict(config.pairs)),
        mlm=masked_result(sums, asked, vocabulary),
        nsp=pair_result(sums, asked, corpus, config, split) if heads else None,
    )


def masked_result(sums: HeldOutSums, asked: Questions, vocabulary: Vocabulary) -> MaskedResult:
    """The scores of masked tokens, and their floors from the same questions."""
    group, rank = vocabulary.group[asked.labels], vocabulary.rank[asked.labels]

    def by_class(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values, len(CLASSES))

    masked = sums.masked.numpy()
    table = np.stack(  # (6, classes), as the fields of MaskedScores
        [
            *(sums.mlm_nll.numpy(), by_class(vocabulary.unigram_nll[asked.labels])),
            *(sums.mlm_correct.numpy(), by_class(rank < 1)),
            *(sums.mlm_in_five.numpy(), by_class(rank < 5)),
        ]
    )

    def scores(*classes: int) -> MaskedScores:
        count = masked[list(classes)].sum()
        means = table[:, list(classes)].sum(1) / count
        return MaskedScores(int(count), float(count / masked.sum()), *means.tolist())

    everything = scores(*range(len(CLASSES)))
    if not everything.loss < _DIVERGED:  # nor is nan
        raise UserError(
            f"the model's loss is {everything.loss:g} nats a masked token: it has diverged, or its "
            "weights are damaged; use an earlier checkpoint"
        )
    characters = int(sums.characters)
    bits = everything.masked / math.log(2) / characters if characters else None
    return MaskedResult(
        all=everything,
        classes={name: scores(place) for place, name in enumerate(CLASSES) if masked[place]},
        common_from=vocabulary.limits[0],
        middle_from=vocabulary.limits[1],
        perplexity=math.exp(everything.loss),
        perplexity_baseline=math.exp(everything.loss_baseline),
        bits_per_character=bits and everything.loss * bits,
        bits_per_character_baseline=bits and everything.loss_baseline * bits,
        characters=characters,
        piece_fraction=float(vocabulary.is_piece[asked.labels].mean()),
    )


def pair_result(
    sums: HeldOutSums,
    asked: Questions,
    corpus: PreparedCorpus,
    config: BatchConfig,
    split: str,
) -> PairResult | None:
    """The scores of pair labels, and their floors; None where there are no labels."""
    baselines = pair_baselines(asked.pair_labels)
    if baselines is None:
        return None
    config = replace(config, global_batch_size=_READ_TOGETHER)  # nothing depends on a run's
    held_out = EvaluationBatches(corpus, split, config, _READ_TOGETHER)
    step = -(-asked.examples // MOST_EXAMPLES)
    sample = [held_out[i] for i in range(0, len(held_out), step)]
    told = describe_labels(training_sample(corpus, config, seed=0), sample)
    assert told is not None
    pairs = int(sums.nsp.labels)
    return PairResult(
        pairs=pairs,
        loss=float(sums.nsp.nll) / pairs,
        loss_baseline=baselines[0],
        accuracy=float(sums.nsp.correct) / pairs,
        accuracy_baseline=baselines[1],
        length_only_accuracy=told.length_only_accuracy,
    )
