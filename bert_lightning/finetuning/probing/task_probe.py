"""The probe of a labelled task: frozen vectors of its splits, in every layer, and what they say."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.corpus.vocabulary.prose import reading_prose
from bert_lightning.evaluation.probing import ProbeResult, Split, probe
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split, tell_unknown
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.predict import batches_of
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.finetuning.tasks.task import Task
from bert_lightning.inference.spans import layer_means
from bert_lightning.model.bert import Encoder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TaskProbe:
    """Labelled examples in a model's tokens, which a probe reads from its layers."""

    task: Task
    train: EncodedSplit
    held_out: EncodedSplit
    controls: tuple[np.ndarray | None, np.ndarray | None]
    """The labels of the control task, of both splits."""
    pooling: Pooling

    def result(self, encoder: Encoder) -> ProbeResult:
        """Probes each layer of a model, whose weights and mode stay as they are."""
        train, held_out = (
            Split(
                self.task.features(split_features(encoder, split, self.pooling), split.widths),
                split.labels,
                control,
            )
            for split, control in zip((self.train, self.held_out), self.controls, strict=True)
        )
        return probe(train, held_out)


def encode_probe(
    tokenizer: Tokenizer,
    train: Sequence[LabelledExample],
    held_out: Sequence[LabelledExample],
    names: Sequence[str],
    *,
    kind: TaskKind,
    pooling: Pooling = Pooling.auto,
    max_length: int = 128,
    control_seed: int | None = 0,
) -> TaskProbe:
    """Encodes the examples of a probe.

    Args:
        tokenizer: the model's.
        train: what the probe is fitted to.
        held_out: what it is scored on.
        names: the classes.
        kind: one that has classes.
        pooling: `mean` or `cls` of a text; `auto` is the mean. A word has its first token's vector.
        max_length: in tokens; longer texts are cut, or divided between words.
        control_seed: draws the labels of the control task; None omits it. A text has none: it
            occurs once, so that there is nothing to learn by heart.

    Raises:
        UserError: the labels are not of the kind that a probe reads.
    """
    task = task_of(kind)
    assert task.can_be_probed, "a probe tells classes apart"
    tokenizer = reading_prose(tokenizer)
    train_split, held_out_split = (
        encode_split(examples, kind, names, tokenizer, max_length) for examples in (train, held_out)
    )
    for name, split in (("training", train_split), ("held-out", held_out_split)):
        task.features(torch.empty(0, len(split.positions), 0), split.widths)  # refuses it now
        if split.cut:
            _log.info(
                "%s %s examples have more than %s tokens, and are %s; batch.max_length raises "
                "the limit", f"{split.cut:,}", name, max_length, task.too_long,
            )  # fmt: skip
    tell_unknown(train_split, _log)
    controls: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if control_seed is not None:
        controls = task.controls(train, held_out, train_split.labels, control_seed)
    if task.of_tokens:
        pooling = Pooling.cls  # each word's own vector
    elif pooling is Pooling.auto:
        pooling = Pooling.mean
    return TaskProbe(task, train_split, held_out_split, controls, pooling)


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
