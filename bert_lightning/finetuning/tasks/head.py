"""The head of a task and its loss; that of most is dropout and one linear layer."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from bert_lightning.config import ModelConfig
from bert_lightning.config.task import TaskConfig
from bert_lightning.model.layers import Dropout
from bert_lightning.model.objective import Sums, classification_sums


class Head(nn.Module, ABC):
    """From the vectors of positions to outputs, and from outputs and labels to a loss."""

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__()

    @abstractmethod
    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        """Sums the loss of labels `(labels,)`.

        Each label is read from as many positions as its entry in `widths`, `(labels,)`, says.
        """

    def fit(self, labels: np.ndarray, config: TaskConfig) -> None:
        """Takes over what it needs of the training labels and of the options."""


class TaskHead(Head):
    """A class for each vector, as in Hugging Face's heads (Devlin et al., 2019, section 4)."""

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__(config, outputs)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(positions, hidden)` → `(positions, outputs)`, here logits."""
        return self.classifier(self.dropout(vectors))

    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        """Sums the cross-entropy in nats."""
        return classification_sums(outputs, labels)

    @torch.no_grad()
    def linear(self) -> tuple[Tensor, Tensor]:
        """Returns the weight and the bias of the one linear layer that computes its outputs."""
        return self.classifier.weight.detach(), self.classifier.bias.detach()
