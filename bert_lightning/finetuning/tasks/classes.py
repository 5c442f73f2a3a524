"""One of several classes, for a text or for two: `text` and `pair`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.labelled.cells import class_of
from bert_lightning.finetuning.labelled.columns import ColumnNames, Columns, Second
from bert_lightning.finetuning.labelled.examples import LabelledExample, require_classes
from bert_lightning.finetuning.scoring.baselines import constant, tf_idf
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.metrics import Scores, class_scores
from bert_lightning.finetuning.tasks.task import Examples, Task, TokensOf


class Classes(Task):
    """One of several classes for each example."""

    has_classes = True

    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        return LabelledExample(tuple(texts), class_of(label, str(columns.label), place), place)

    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        require_classes(examples, names, file)

    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        return class_scores(predicted, labels, len(names))

    def score_on(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> ScoreOn:
        right = (predicted == labels).astype(np.float64)
        return lambda chosen: float(right[chosen].mean())

    def baselines(
        self,
        splits: Mapping[str, Examples],
        labels: Mapping[str, np.ndarray],
        tokens_of: TokensOf,
    ) -> dict[str, np.ndarray]:
        majority = constant(labels["train"], len(labels["test"]))
        return {"majority": majority, **tf_idf(splits, labels, tokens_of)}


class Text(Classes):
    kind = TaskKind.text
    call = 'classify("the crane is flying")  # the likeliest label, and its probability'


class Pair(Classes):
    kind = TaskKind.pair
    column_names = ColumnNames(second=Second.always)
    call = 'classify("a crane flies", "it is new")  # the likeliest label of a pair'
