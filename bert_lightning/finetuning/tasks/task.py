"""What a kind of task has of its own, and what most kinds have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from bert_lightning.config import ModelConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import LabelledConfig, Pooling, TaskConfig, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.data.dealing import StepPartition
from bert_lightning.finetuning.labelled.cells import empty_cells
from bert_lightning.finetuning.labelled.columns import ColumnNames, Columns, choose_columns
from bert_lightning.finetuning.labelled.examples import LabelledExample, label_names
from bert_lightning.finetuning.labelled.files import what_it_holds
from bert_lightning.finetuning.labelled.tables import Table, file_table
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.metrics import Scores, softmax
from bert_lightning.finetuning.tasks.head import Head, TaskHead
from bert_lightning.finetuning.tasks.sequences import Encoded, encode_texts

if TYPE_CHECKING:
    from bert_lightning.finetuning.encoding import EncodedSplit

Examples = Sequence[LabelledExample]
TokensOf = Callable[[str], list[str]]
"""Divides a text as the model does."""


class Task(ABC):
    """A kind of task.

    An example has one label or several. Its texts become one or more sequences; the model gives an
    output for each of their positions; and each label is read from one output, or from `widths`.
    """

    kind: ClassVar[TaskKind]
    column_names: ClassVar[ColumnNames] = ColumnNames()
    head: ClassVar[type[Head]] = TaskHead
    has_classes: ClassVar[bool] = False
    """Whether each example has one of several classes."""
    of_tokens: ClassVar[bool] = False
    """Whether outputs belong to tokens, and not to whole sequences."""
    can_be_probed: ClassVar[bool] = True
    """Whether a linear classifier of the vectors may tell its labels apart."""
    has_held_out_loss: ClassVar[bool] = True
    """Whether the loss is defined for held-out examples too."""
    has_constant_baseline: ClassVar[bool] = True
    """Whether one and the same prediction, the commonest class or the mean, is a baseline."""
    too_long: ClassVar[str] = "cut"
    """What becomes of examples that have more tokens than the model reads."""
    has_confusions: ClassVar[bool] = True
    """Whether it says something which label is taken for which."""
    pipeline: ClassVar[str] = "text-classification"
    """Its name on the Hugging Face hub."""
    with_transformers: ClassVar[str] = """from transformers import pipeline

model = pipeline("{pipeline}", model="{name}"{trust})
model("the crane is flying")"""
    """The code that asks transformers, as the model card shows it."""
    call: ClassVar[str]
    """What a model is asked in Python, as the model card shows it."""

    # Reading.

    def table(self, file: Path, data: LabelledConfig, may_have_header: bool) -> Table:
        """Opens a file of examples."""
        return file_table(what_it_holds(file, self.kind), data, may_have_header)

    def columns(self, table: Table, config: TaskConfig, split: str, is_divided: bool) -> Columns:
        """Returns the columns of the texts and of the label; a test split may lack the latter.

        `is_divided` says whether other splits are held out of train.
        """
        return choose_columns(table, config, self.column_names, may_lack_label=split == "test")

    def empty_cells(self, texts: Sequence[Any], columns: Columns, place: str) -> list[str]:
        """Returns where a row lacks text; a UserError names a cell that holds something else."""
        return empty_cells(texts, columns.texts, place)

    @abstractmethod
    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        """Returns the example of a row; a UserError names a cell that holds something else."""

    def settled(
        self, splits: Mapping[str, Examples], columns: Mapping[str, Columns]
    ) -> Mapping[str, Examples]:
        """Returns the examples with what only all splits together say of their labels."""
        return splits

    def names(self, examples: Examples) -> list[str]:
        """Returns the names of the labels, in the order of their numbers; none for numbers."""
        return label_names(examples)

    @abstractmethod
    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        """Raises a UserError if all training examples that a file has leave nothing to learn."""

    def to_train_on(
        self, examples: Examples, config: TaskConfig, file: str
    ) -> tuple[list[LabelledExample], list[str]]:
        """Returns what those of train become once others are held out, and sentences about it."""
        return list(examples), []

    def together(self, example: LabelledExample) -> str | None:
        """Returns what an example has in common with those that are held out with it, if any."""
        return None

    # Tokens and outputs.

    def encode(
        self, examples: Examples, names: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> Encoded:
        """Encodes the examples, in their order."""
        texts = [example.texts for example in examples]
        sequences, cut = encode_texts(texts, tokenizer, max_length)
        return Encoded(sequences, self.labels(examples, names), sum(cut))

    def labels(self, examples: Examples, names: Sequence[str]) -> np.ndarray:
        """Returns the numbers of all labels, `(labels,)` int64."""
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers[str(example.label)] for example in examples], np.int64)

    def pooling(self, wanted: Pooling) -> Pooling:
        """Returns the pooling, or `auto` where the model decides."""
        return wanted

    def outputs(self, names: Sequence[str], model: ModelConfig) -> int:
        """Returns the number of outputs at each position."""
        return len(names)

    def partition(self, partition: StepPartition, config: FinetuneConfig) -> StepPartition:
        """Returns the micro-batches that the loss allows, near those that fit into memory."""
        return partition

    # Predictions and scores.

    def predict(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        """Returns the predictions `(labels,)` of outputs `(positions, outputs)`, here classes."""
        return outputs.argmax(1)

    def right(self, split: "EncodedSplit", examples: Examples) -> np.ndarray:
        """Returns what predictions are compared with, `(labels,)`."""
        return split.labels

    @abstractmethod
    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        """Scores predictions `(labels,)`, the main score first.

        `sizes` says how many labels each example has, `(examples,)`.
        """

    @abstractmethod
    def score_on(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> ScoreOn:
        """Returns the main score as a function of the examples that it is taken over."""

    def sizes(self, examples: Examples) -> np.ndarray:
        """Returns how many labels each example has, `(examples,)`."""
        return np.ones(len(examples), np.int64)

    @abstractmethod
    def baselines(
        self,
        splits: Mapping[str, Examples],
        labels: Mapping[str, np.ndarray],
        tokens_of: TokensOf,
    ) -> dict[str, np.ndarray]:
        """Returns what needs no pretraining predicts for the test split, by name.

        `labels` are those of each split, `(labels,)`.
        """

    # What people look at.

    def shown(self, example: LabelledExample) -> list[str]:
        """Returns the text of each label of an example."""
        return [" | ".join(example.texts)]

    def confidence(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        """Returns the probability of each prediction, `(labels,)`; zeros where there is none."""
        return softmax(outputs).max(1)

    def badness(
        self, predicted: np.ndarray, labels: np.ndarray, confidence: np.ndarray
    ) -> np.ndarray:
        """Returns how bad each prediction is, `(labels,)`; 0 where it is right."""
        return np.where(predicted != labels, confidence, 0)

    def worded(self, value: Any, names: Sequence[str]) -> str:
        """Returns a label, or a prediction, as people read it."""
        return names[value]

    def described(self, names: Sequence[str]) -> str:
        """Returns what a model answers, in a few words."""
        return f"{len(names)} classes"

    def answers(self, names: Sequence[str]) -> str:
        """Returns the same, in more words, for the model card."""
        return ", ".join(names)

    def features(self, vectors: Tensor, widths: np.ndarray) -> Tensor:
        """Returns what a probe reads of each label, `(layers, labels, hidden)`.

        `vectors` are those of all outputs, `(layers, outputs, hidden)`.
        """
        return vectors

    def controls(
        self, train: Examples, held_out: Examples, labels: np.ndarray, seed: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Returns the labels of a control task for a probe of both splits, where it has one."""
        return None, None
