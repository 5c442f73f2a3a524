"""A model's scores on a held-out split, each beside its baseline."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bert_lightning.config import BatchConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.errors import UserError
from bert_lightning.evaluation.scores import HeldOutSums, score_batches
from bert_lightning.evaluation.token_stats import CLASSES, UNKNOWN, TokenStats, token_stats
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.pretrained.sources import PretrainedSource, build
from bert_lightning.work import tracked


@dataclass(frozen=True)
class MaskedScores:
    """The masked tokens of one class, or all of them. Losses are nats a token.

    The baselines are those of the training split: the unigram baseline for the loss, and its most
    frequent token, or five, predicted everywhere for the accuracies.
    """

    masked: int
    fraction: float
    """Of all masked tokens."""
    loss: float
    loss_baseline: float
    accuracy: float
    accuracy_baseline: float
    accuracy_at_5: float
    accuracy_at_5_baseline: float


@dataclass(frozen=True)
class MaskedResult:
    """Masked language modeling."""

    all: MaskedScores
    known: MaskedScores | None
    """Those that are not `[UNK]`, beside the most frequent tokens other than `[UNK]`; None if all
    are."""
    classes: dict[str, MaskedScores]
    """By frequency in the training split; a class without masked tokens is absent."""
    common_from: int
    """The least occurrences of a `common` token in the training split."""
    middle_from: int
    """The same of a `middle` token; a rarer one is `rare`, and `[UNK]` is `unknown`."""
    perplexity: float
    """exp(loss): comparable between models with the same vocabulary."""
    perplexity_baseline: float
    bits_per_character: float | None
    """The loss of all masked tokens in bits, over the characters of their texts; `[UNK]` has a loss
    and no characters. None if all are unknown."""
    bits_per_character_baseline: float | None
    characters: int
    piece_fraction: float
    """Fraction of masked tokens that continue a word, whose other wordpieces the model may see."""


@dataclass(frozen=True)
class PairResult:
    """Next-sentence or sentence-order prediction, with `Baselines`. Losses are nats a pair."""

    pairs: int
    loss: float
    loss_baseline: float
    accuracy: float
    accuracy_baseline: float
    length_only_accuracy: float
    """Of the length-only baseline: a logistic regression fitted to training pairs."""


@dataclass(frozen=True)
class Evaluation:
    """One model on one held-out split."""

    model: str
    step: int | None
    """Optimizer steps of its run; None if it comes from elsewhere."""
    parameters: int
    vocab_size: int
    """Of its tokenizer."""
    corpus: str
    corpus_origin: str
    fallback_reason: str | None
    """The reason for using a fallback instead of the requested corpus, if so."""
    text_sha256: str
    """Of the text, and of its sentences and words: the same for every tokenizer."""
    evaluation_set_sha256: str
    """Of all inputs and labels; see :func:`bert_lightning.data.evaluation_set.read_contents`."""
    split: str
    examples: int
    tokens: int
    max_length: int
    pairs: dict[str, Any]
    """The options `batch.pairs`."""
    mlm: MaskedResult
    nsp: PairResult | None
    """None without labeled pairs, or without the head."""


def evaluate(
    source: PretrainedSource, corpus: PreparedCorpus, config: BatchConfig, split: str
) -> Evaluation:
    """Evaluates a model on a held-out split, in fp32, on a GPU if there is one.

    Raises:
        UserError: there is no such split or no head for masked tokens, or the loss is not finite.
    """
    held_out = EvaluationSet(corpus, split, config, source.vocab_size)
    bert = PretrainedBert(build(source), source.tokenizer, source.missing_heads)
    bert.require("mlm_head")
    stats = token_stats(corpus.tokenizer, held_out.token_counts)
    model = bert.model.float().to("cuda" if torch.cuda.is_available() else "cpu")
    batches = held_out.batches(config.micro_batch_size or 64)  # no score depends on it
    shown = tracked((batches[i] for i in range(len(batches))), len(batches), "evaluating")
    sums = score_batches(model, shown, stats)
    has_nsp = source.missing_heads.isdisjoint({"pooler", "nsp_head"})
    return Evaluation(
        model=source.name,
        step=source.about.get("step"),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=corpus.tokenizer.get_vocab_size(),
        corpus=corpus.name,
        corpus_origin=corpus.origin,
        fallback_reason=corpus.fallback_reason,
        text_sha256=corpus.text_key,
        evaluation_set_sha256=held_out.contents.sha256,
        split=split,
        examples=held_out.contents.examples,
        tokens=held_out.contents.tokens,
        max_length=config.max_length,
        pairs=to_plain(asdict(config.pairs)),
        mlm=masked_result(sums, held_out.contents.masked_labels, stats),
        nsp=pair_result(sums, held_out) if has_nsp else None,
    )


def masked_result(sums: HeldOutSums, labels: np.ndarray, stats: TokenStats) -> MaskedResult:
    """Returns the scores on masked tokens, and their baselines from the same labels."""
    group, rank = stats.group[labels], stats.rank[labels]

    def by_class(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values, len(CLASSES))

    masked = sums.masked.numpy()
    columns = [  # as the fields of MaskedScores
        *(sums.mlm_nll.numpy(), by_class(stats.unigram_nll[labels])),
        *(sums.mlm_correct.numpy(), by_class(rank < 1)),
        *(sums.mlm_in_five.numpy(), by_class(rank < 5)),
    ]
    table = np.stack(columns)  # (6, classes)

    def scores(classes: list[int], table: np.ndarray = table) -> MaskedScores:
        count = masked[classes].sum()
        means = table[:, classes].sum(1) / count
        return MaskedScores(int(count), float(count / masked.sum()), *means.tolist())

    everything = scores([*range(len(CLASSES))])
    # [UNK] may be the most frequent token: among the others, those behind it move up.
    moved = rank - (rank > stats.rank[stats.group == UNKNOWN])
    of_known = np.stack([*columns[:3], by_class(moved < 1), columns[4], by_class(moved < 5)])
    if not everything.loss < 500:  # true for NaN too
        raise UserError(
            f"the model's loss is {everything.loss:g} nats a masked token: it has diverged, or its "
            "weights are corrupted; use an earlier checkpoint"
        )
    characters = int(sums.characters)
    bits = everything.masked / math.log(2) / characters if characters else None
    return MaskedResult(
        all=everything,
        known=scores([*range(UNKNOWN)], of_known) if masked[:UNKNOWN].any() else None,
        classes={name: scores([place]) for place, name in enumerate(CLASSES) if masked[place]},
        common_from=stats.limits[0],
        middle_from=stats.limits[1],
        perplexity=math.exp(everything.loss),
        perplexity_baseline=math.exp(everything.loss_baseline),
        bits_per_character=bits and everything.loss * bits,
        bits_per_character_baseline=bits and everything.loss_baseline * bits,
        characters=characters,
        piece_fraction=float(stats.is_piece[labels].mean()),
    )


def pair_result(sums: HeldOutSums, held_out: EvaluationSet) -> PairResult | None:
    """Returns the scores on pair labels, and their baselines; None without labels."""
    labels, baselines = held_out.label_statistics, held_out.baselines
    if labels is None or baselines.nsp_loss is None or baselines.nsp_accuracy is None:
        return None
    nll, correct, pairs = map(float, sums.nsp)
    return PairResult(
        pairs=int(pairs),
        loss=nll / pairs,
        loss_baseline=baselines.nsp_loss,
        accuracy=correct / pairs,
        accuracy_baseline=baselines.nsp_accuracy,
        length_only_accuracy=labels.length_only_accuracy,
    )
