"""A number, for a text or for two."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bert_lightning.config import ModelConfig
from bert_lightning.config.task import TaskConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.cells import number_of
from bert_lightning.finetuning.labelled.columns import ColumnNames, Columns, Second
from bert_lightning.finetuning.labelled.examples import LabelledExample, require_examples
from bert_lightning.finetuning.scoring.baselines import constant, tf_idf
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.metrics import Scores, number_scores, spearman
from bert_lightning.finetuning.tasks.head import TaskHead
from bert_lightning.finetuning.tasks.task import Examples, Task, TokensOf
from bert_lightning.model.objective import Sums

if TYPE_CHECKING:
    from bert_lightning.finetuning.encoding import EncodedSplit


class NumberHead(TaskHead):
    """A number for each vector, learned in units of the labels' standard deviation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__(config, outputs)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, vectors: Tensor) -> Tensor:
        """`(positions, hidden)` → numbers `(positions, 1)` in their own units."""
        return super().forward(vectors).float() * self.scale + self.mean

    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        """Sums half the squared error, in squared standard deviations."""
        error = (outputs[:, 0] - labels) / self.scale
        none = torch.full_like(self.scale, torch.nan)
        return Sums(0.5 * error.square().sum(), none, torch.ones_like(labels).sum())

    def fit(self, labels: np.ndarray, config: TaskConfig) -> None:
        self.mean.fill_(float(labels.mean()))
        self.scale.fill_(float(labels.std()))

    @torch.no_grad()
    def linear(self) -> tuple[Tensor, Tensor]:
        weight, bias = super().linear()
        return weight * self.scale, bias * self.scale + self.mean


class Number(Task):
    """A number for each example."""

    kind = TaskKind.number
    column_names = ColumnNames(second=Second.possible)
    head = NumberHead
    can_be_probed = False
    call = 'score("the crane is flying")'

    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        return LabelledExample(
            tuple(texts), number_of(label, str(columns.label), place, self.kind), place
        )

    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        require_examples(examples, file)
        values = {example.label for example in examples if isinstance(example.label, float)}
        if len(values) == 1:
            raise UserError(f"{file}: every label is {values.pop():g}; there is nothing to learn")

    def labels(self, examples: Examples, names: Sequence[str]) -> np.ndarray:
        return np.array([example.label for example in examples], np.float32)

    def outputs(self, names: Sequence[str], model: ModelConfig) -> int:
        return 1

    def predict(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        return outputs[:, 0]

    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        return number_scores(predicted, labels)

    def score_on(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> ScoreOn:
        return lambda chosen: spearman(predicted[chosen], labels[chosen])

    def baselines(
        self,
        splits: Mapping[str, Examples],
        labels: Mapping[str, np.ndarray],
        tokens_of: TokensOf,
    ) -> dict[str, np.ndarray]:
        mean = constant(labels["train"], len(labels["test"]))
        return {"mean": mean, **tf_idf(splits, labels, tokens_of)}

    def confidence(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        return np.zeros(len(split.labels))

    def badness(
        self, predicted: np.ndarray, labels: np.ndarray, confidence: np.ndarray
    ) -> np.ndarray:
        return np.abs(predicted - labels)

    def worded(self, value: Any, names: Sequence[str]) -> str:
        return f"{value:g}"

    def described(self, names: Sequence[str]) -> str:
        return "a number, in the units of its labels"

    def answers(self, names: Sequence[str]) -> str:
        return "a number, in the units of its labels"
