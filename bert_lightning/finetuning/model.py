"""BERT with the head of a task."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from bert_lightning.batch import Sequences
from bert_lightning.config import ModelConfig
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.finetuning.tasks.head import Head
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.model.bert import Bert, Encoder, Pooler, initialize
from bert_lightning.model.objective import Sums
from bert_lightning.model.rounding import rounded


class HeadShape(NamedTuple):
    """What a checkpoint needs to say of a head to build it again."""

    kind: TaskKind
    outputs: int
    """Classes; 1 for a number and for a candidate of `choice`; the width of sentence vectors."""
    pooling: Pooling
    """Never `auto`; `cls` takes the vector of each position itself, also where that is a word."""


class BertForTask(Bert):
    """The encoder with one task's head."""

    def __init__(self, config: ModelConfig, vocab_size: int, shape: HeadShape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.encoder = Encoder(config, vocab_size)
        self.pooler = Pooler(config) if shape.pooling is Pooling.pooler else None
        self.head = task_of(shape.kind).head(config, shape.outputs)
        self.apply(lambda module: initialize(module, config.initializer_range))

    @property
    def objectives(self) -> dict[str, Head]:
        """The one head, by the name of its kind of task."""
        return {self.shape.kind.value: self.head}

    def forward(self, sequences: Sequences, positions: Tensor) -> Tensor:
        """Returns the outputs `(positions, outputs)` at these `positions`."""
        total = len(sequences.token_ids)
        hidden = self.encoder(rounded(sequences))[:total]
        return self.head(self._pooled(hidden, sequences, positions))

    def _pooled(self, hidden: Tensor, sequences: Sequences, positions: Tensor) -> Tensor:
        if self.shape.pooling is Pooling.mean:
            lengths = torch.from_numpy(sequences.lengths).to(hidden.device)
            return torch.segment_reduce(hidden.float(), "mean", lengths=lengths).to(hidden.dtype)
        vectors = hidden.index_select(0, positions)
        return vectors if self.pooler is None else self.pooler(vectors)

    def another(self) -> Self:
        vocab_size = self.encoder.embeddings.word.num_embeddings
        return type(self)(self.config, vocab_size, self.shape)

    def sums(self, batch: TaskBatch) -> dict[str, Sums]:
        outputs = self(batch.sequences, batch.positions)
        return {self.shape.kind.value: self.head.sums(outputs, batch.labels, batch.widths)}
