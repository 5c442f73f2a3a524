"""BERT with the head of a task: a class or a number for a sequence, or a class for each word."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from bert_lightning.batch import Sequences
from bert_lightning.config import ModelConfig
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.model.bert import Bert, Encoder, initialize
from bert_lightning.model.heads import Pooler
from bert_lightning.model.layers import Dropout
from bert_lightning.model.objective import Sums, classification_sums


class HeadShape(NamedTuple):
    """What a checkpoint needs to say of a head to build it again."""

    kind: TaskKind
    outputs: int
    """Classes; 1 for a number."""
    pooling: Pooling
    """Never `auto`; that of `tokens` is `cls`, which takes the token's own vector."""


class TaskHead(nn.Module):
    """Dropout and one linear layer, as in Hugging Face's heads (Devlin et al., 2019, section 4)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, shape.outputs)
        if shape.kind is TaskKind.number:  # learned in units of the labels' standard deviation
            self.register_buffer("mean", torch.zeros(()))
            self.register_buffer("scale", torch.ones(()))

    def forward(self, vectors: Tensor) -> Tensor:
        """`(labels, hidden)` → logits `(labels, classes)`, or numbers `(labels, 1)`."""
        outputs = self.classifier(self.dropout(vectors))
        if self.shape.kind is TaskKind.number:
            return outputs.float() * self.scale + self.mean
        return outputs

    def sums(self, outputs: Tensor, labels: Tensor) -> Sums:
        """Sums cross-entropy in nats, or half the squared error in squared standard deviations."""
        if self.shape.kind is not TaskKind.number:
            return classification_sums(outputs, labels)
        error = (outputs[:, 0] - labels) / self.scale
        none = torch.full_like(self.scale, torch.nan)
        return Sums(0.5 * error.square().sum(), none, torch.ones_like(labels).sum())


class BertForTask(Bert):
    """The encoder with one task's head."""

    def __init__(self, config: ModelConfig, vocab_size: int, shape: HeadShape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.encoder = Encoder(config, vocab_size)
        self.pooler = Pooler(config) if shape.pooling is Pooling.pooler else None
        self.head = TaskHead(config, shape)
        self.apply(lambda module: initialize(module, config.initializer_range))

    @property
    def objectives(self) -> dict[str, TaskHead]:
        """The one head, by the name of its kind of task."""
        return {self.shape.kind.value: self.head}

    def forward(self, sequences: Sequences, positions: Tensor) -> Tensor:
        """Returns the outputs `(labels, outputs)` for the labels at these `positions`."""
        hidden = self.encoder(sequences)
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
        return {self.shape.kind.value: self.head.sums(outputs, batch.labels)}
