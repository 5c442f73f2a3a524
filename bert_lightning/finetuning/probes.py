"""The frozen vectors of a labelled split, in every layer: what a probe reads."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.evaluation.probing import ProbeResult, Split, control_labels, probe
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.predict import batches_of
from bert_lightning.inference.spans import layer_means
from bert_lightning.model.bert import Encoder


def split_features(encoder: Encoder, split: EncodedSplit, pooling: Pooling) -> Tensor:
    """Returns the vectors that the labels belong to, `(layers + 1, labels, hidden)` float32.

    `mean` takes that over all tokens of the sequence; anything else the token of the label, which
    is `[CLS]` for a text and its first token for a word. Layer 0 is the embeddings.
    """
    shape = len(encoder.blocks) + 1, len(split.labels), encoder.config.hidden_size
    features = torch.empty(shape)
    device = encoder.embeddings.word.weight.device
    for batch in batches_of(split, "probe"):
        tokens, counts = batch.positions.numpy(), np.ones(len(batch.positions), np.int64)
        if pooling is Pooling.mean:
            counts = batch.sequences.lengths
            tokens = np.arange(counts.sum())
        means = layer_means(encoder, batch.sequences.on(device), tokens, counts)
        features[:, batch.label_index] = means
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
    assert kind is not TaskKind.number, "a probe tells classes apart"
    splits = [
        encode_split(examples, kind, names, tokenizer, max_length) for examples in (train, held_out)
    ]
    controls: Sequence[np.ndarray | None] = (None, None)
    if kind is TaskKind.tokens:
        pooling = Pooling.cls  # each word's own vector
        words = [[word for e in examples for word in e.texts] for examples in (train, held_out)]
        controls = control_labels(words[0], words[1], splits[0].labels, seed)
    probed = [
        Split(split_features(encoder, split, pooling), split.labels, control)
        for split, control in zip(splits, controls, strict=True)
    ]
    return probe(probed[0], probed[1])
