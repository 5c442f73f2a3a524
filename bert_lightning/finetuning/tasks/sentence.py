"""The vector of a text, trained contrastively (SimCSE: Gao et al., 2021), scored on similarity."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.config import ModelConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling, Positives, TaskConfig, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.cells import number_of
from bert_lightning.finetuning.labelled.columns import (
    ColumnNames,
    Columns,
    Second,
    choose_columns,
)
from bert_lightning.finetuning.labelled.examples import LabelledExample, require_examples
from bert_lightning.finetuning.labelled.tables import Table
from bert_lightning.finetuning.scoring.baselines import tf_idf_cosines
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.metrics import Scores, pearson, ranks, spearman
from bert_lightning.finetuning.sentences.contrastive import contrastive_sums
from bert_lightning.finetuning.sentences.groups import with_whole_groups
from bert_lightning.finetuning.sentences.positives import positive_pairs
from bert_lightning.finetuning.tasks.head import Head
from bert_lightning.finetuning.tasks.sequences import Encoded, encode_texts
from bert_lightning.finetuning.tasks.task import Examples, Task, TokensOf
from bert_lightning.model.objective import Sums

if TYPE_CHECKING:
    from bert_lightning.finetuning.encoding import EncodedSplit


class SentenceHead(Head):
    """Vectors of length 1; it has no weights of its own."""

    config: TaskConfig

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__(config, outputs)
        self.has_dropout = config.hidden_dropout_prob > 0 or config.attention_probs_dropout_prob > 0

    def forward(self, vectors: Tensor) -> Tensor:
        """`(positions, hidden)` → the same, scaled to length 1."""
        return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)

    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        """Sums the contrastive loss; `labels` are the numbers of the second texts."""
        group = self.config.group_size or len(labels)
        return contrastive_sums(outputs, labels, group, self.config.temperature)

    def fit(self, labels: np.ndarray, config: TaskConfig) -> None:
        if config.positives is Positives.dropout and not self.has_dropout:
            raise UserError(
                "task.positives=dropout makes two vectors of a text by two dropout masks, and this "
                "model has dropout 0: use task.dropout=0.1, or task.positives=pairs"
            )
        self.config = config


class Sentence(Task):
    """A vector for each text; held-out pairs have a score of how similar they are."""

    kind = TaskKind.sentence
    has_constant_baseline = False
    column_names = ColumnNames(second=Second.always)
    head = SentenceHead
    can_be_probed = False
    has_held_out_loss = False
    pipeline = "sentence-similarity"
    call = 'similarity("a crane flies", "a bird is in the air")  # the cosine of two vectors'

    def columns(self, table: Table, config: TaskConfig, split: str, is_divided: bool) -> Columns:
        if split != "train" or is_divided:
            return super().columns(table, config, split, is_divided)
        if config.positives is Positives.pairs:
            return choose_columns(table, config, self.column_names, may_lack_label=True)
        names = self.column_names._replace(second=Second.possible)
        texts = choose_columns(table, config, names, may_lack_label=True).texts
        shown = " and ".join(f"'{name}'" for name in texts)
        return Columns(texts, None, [f"texts are read from {shown}, and no labels."])

    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        score = None if columns.label is None else number_of(label, columns.label, place, self.kind)
        return LabelledExample(tuple(texts), score, place)

    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        require_examples(examples, file)
        if len({example.texts[-1] for example in examples}) == 1:
            raise UserError(
                f"{file}: its {len(examples)} examples have no two different texts to tell apart"
            )

    def to_train_on(
        self, examples: Examples, config: TaskConfig, file: str
    ) -> tuple[list[LabelledExample], list[str]]:
        return positive_pairs(examples, config, file)

    def encode(
        self, examples: Examples, names: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> Encoded:
        texts = [[text] for example in examples for text in example.texts]
        sequences, cut = encode_texts(texts, tokenizer, max_length)
        either = map(any, zip(cut[0::2], cut[1::2], strict=True))
        return Encoded(sequences, self.labels(examples, names), sum(either), sequences_each=2)

    def labels(self, examples: Examples, names: Sequence[str]) -> np.ndarray:
        """Returns the numbers of the second texts, int64, or scores where there are some."""
        if any(example.label is not None for example in examples):
            return np.array([example.label for example in examples], np.float32)
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(e.texts[1], len(numbers)) for e in examples], np.int64)

    def pooling(self, wanted: Pooling) -> Pooling:
        return Pooling.mean if wanted is Pooling.auto else wanted

    def outputs(self, names: Sequence[str], model: ModelConfig) -> int:
        return model.hidden_size

    def partition(self, partition: StepPartition, config: FinetuneConfig) -> StepPartition:
        return with_whole_groups(partition, config)

    def predict(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        """Returns the cosine of each pair, `(labels,)`."""
        return np.einsum("lh,lh->l", outputs[0::2], outputs[1::2])

    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        return {"spearman": spearman(predicted, labels), "pearson": pearson(predicted, labels)}

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
        return tf_idf_cosines(splits, tokens_of)

    def confidence(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        return np.zeros(len(split.widths))

    def badness(
        self, predicted: np.ndarray, labels: np.ndarray, confidence: np.ndarray
    ) -> np.ndarray:
        return np.abs(ranks(predicted) - ranks(labels))

    def worded(self, value: Any, names: Sequence[str]) -> str:
        return f"{value:.2f}"

    def described(self, names: Sequence[str]) -> str:
        return "the vector of a text"
