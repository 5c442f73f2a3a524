"""Probes of a labelled task: frozen vectors of its splits, in every layer, and what they say."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.evaluation.probing import ProbeResult, Split, probe
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.labelled.read import read_labelled
from bert_lightning.finetuning.predict import batches_of
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.inference.spans import layer_means
from bert_lightning.model.bert import Encoder
from bert_lightning.pretrained.initial_weights import check_length
from bert_lightning.pretrained.sources import PretrainedSource, build

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probed:
    """The probes of a model on labelled data."""

    model: str
    task: str
    data: str
    notes: list[str]
    """Sentences about the data."""
    classes: int
    pooling: str
    """`mean` or `cls` of a text; a word has its first token's own vector, `cls`."""
    seconds: float
    probes: ProbeResult


def probe_source(
    source: PretrainedSource, config: FinetuneConfig, overrides: Sequence[str] = ()
) -> Probed:
    """Probes a model on the train split of a task, and scores the probes on its test split.

    Args:
        source: the model; no weight of it changes.
        config: `task`, `data`, `batch.max_length` and `seed` count.
        overrides: what of the config was given.

    Raises:
        UserError: an override would change nothing, or the data are not what a probe needs.
    """
    for override in overrides:
        _require_effect(override)
    kind, pooling, start = config.task.kind, config.task.pooling, time.perf_counter()
    task = task_of(kind)
    if not task.can_be_probed:
        raise UserError(
            f"task={kind.value}: a probe tells classes apart; use task=text, pair, tokens or choice"
        )
    if pooling is Pooling.pooler or (task.of_tokens and pooling is not Pooling.auto):
        raise UserError(
            f"task.pooling={pooling.value}: a probe reads the vectors of each layer, of a text "
            "their mean or cls and of a word its own: use task.pooling=mean or cls, or omit it"
        )
    check_length(source, config.batch.max_length)
    if task.of_tokens:
        pooling = Pooling.cls
    elif pooling is Pooling.auto:
        pooling = Pooling.mean
    data = read_labelled(config.data, config.task, config.drawn_seed)
    found = probe_task(
        build(source).encoder,
        source.tokenizer,
        data.splits["train"],
        data.splits["test"],
        data.names,
        kind=kind,
        pooling=pooling,
        max_length=config.batch.max_length,
        seed=config.drawn_seed,
    )
    return Probed(
        model=source.name,
        task=kind.value,
        data=data.origin,
        notes=data.notes,
        classes=len(data.names),
        pooling=pooling.value,
        seconds=round(time.perf_counter() - start, 1),
        probes=found,
    )


def _require_effect(override: str) -> None:
    key = override.lstrip("+~").partition("=")[0]
    if key in ("task", "batch.max_length", "seed") or key.startswith(("task.", "data.")):
        return
    raise UserError(
        f"{override} would change nothing: a probe takes task=, task.*, data.*, batch.max_length "
        "and seed, and the model unchanged"
    )


def split_features(encoder: Encoder, split: EncodedSplit, pooling: Pooling) -> Tensor:
    """Returns the vectors of all outputs, `(layers + 1, outputs, hidden)` float32.

    `mean` takes that over all tokens of the sequence; anything else the token of the output, which
    is `[CLS]` for a text and its first token for a word. Layer 0 is the embeddings.
    """
    shape = len(encoder.blocks) + 1, len(split.positions), encoder.config.hidden_size
    features = torch.empty(shape)
    device = encoder.embeddings.word.weight.device
    for batch in batches_of(split, "probe"):
        tokens, counts = batch.positions.numpy(), np.ones(len(batch.positions), np.int64)
        if pooling is Pooling.mean:
            counts = batch.sequences.lengths
            tokens = np.arange(counts.sum())
        means = layer_means(encoder, batch.sequences.on(device), tokens, counts)
        features[:, batch.output_index] = means
    return features


def probe_task(
    encoder: Encoder,
    tokenizer: Tokenizer,
    train: Sequence[LabelledExample],
    held_out: Sequence[LabelledExample],
    names: Sequence[str],
    *,
    kind: TaskKind,
    pooling: Pooling = Pooling.mean,
    max_length: int = 128,
    seed: int = 0,
) -> ProbeResult:
    """Probes each layer for classes; `tokens` gets a control task, whose labels `seed` draws.

    A text has no control task: it occurs once, so that there is nothing to learn by heart.
    """
    task = task_of(kind)
    assert task.can_be_probed, "a probe tells classes apart"
    splits = [
        encode_split(examples, kind, names, tokenizer, max_length) for examples in (train, held_out)
    ]
    for name, split in zip(("training", "held-out"), splits, strict=True):
        if split.cut:
            _log.info(
                "%s %s examples have more than %s tokens, and are %s; batch.max_length raises "
                "the limit", f"{split.cut:,}", name, max_length, task.too_long,
            )  # fmt: skip
    controls = task.controls(train, held_out, splits[0].labels, seed)
    if task.of_tokens:
        pooling = Pooling.cls  # each word's own vector
    probed = [
        Split(
            task.features(split_features(encoder, split, pooling), split.widths),
            split.labels,
            control,
        )
        for split, control in zip(splits, controls, strict=True)
    ]
    return probe(probed[0], probed[1])
