"""The head of a task: dropout and one linear layer, and its loss."""

import numpy as np
import torch
from torch import Tensor, nn

from bert_lightning.config import ModelConfig
from bert_lightning.model.layers import Dropout
from bert_lightning.model.objective import Sums, classification_sums


class TaskHead(nn.Module):
    """A class for each vector, as in Hugging Face's heads (Devlin et al., 2019, section 4)."""

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(positions, hidden)` → `(positions, outputs)`, here logits."""
        return self.classifier(self.dropout(vectors))

    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        """Sums the loss of labels `(labels,)`, here the cross-entropy in nats.

        Each label is read from as many positions as its entry in `widths`, `(labels,)`, says.
        """
        return classification_sums(outputs, labels)

    def fit(self, labels: np.ndarray) -> None:
        """Takes over what it needs to know of the training labels, before the first step."""

    @torch.no_grad()
    def linear(self) -> tuple[Tensor, Tensor]:
        """Returns the weight and the bias of the one linear layer that computes its outputs."""
        return self.classifier.weight.detach(), self.classifier.bias.detach()
