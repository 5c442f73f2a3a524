"""Which of two or more texts is right: minimal pairs, and endings or answers to choose from.

Each candidate is a sequence of its own, and gets one output; the softmax is over the candidates of
an example, as in Hugging Face's multiple choice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bert_lightning.config import ModelConfig
from bert_lightning.config.task import TaskConfig, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.evaluation.minimal_pairs import SENTENCES
from bert_lightning.finetuning.labelled.cells import class_of
from bert_lightning.finetuning.labelled.columns import (
    LABELS,
    ColumnNames,
    Columns,
    Second,
    choose_columns,
)
from bert_lightning.finetuning.labelled.examples import LabelledExample, require_examples
from bert_lightning.finetuning.labelled.tables import Table
from bert_lightning.finetuning.scoring.baselines import tf_idf_choices
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.metrics import Scores, softmax
from bert_lightning.finetuning.tasks.head import TaskHead
from bert_lightning.finetuning.tasks.sequences import Encoded, encode_texts
from bert_lightning.finetuning.tasks.task import Examples, Task, TokensOf
from bert_lightning.model.objective import Sums, classification_sums

if TYPE_CHECKING:
    from bert_lightning.finetuning.encoding import EncodedSplit

_NUMBERED = re.compile(r"(choice|ending|option|candidate|answer|sentence|text)_?(\d+)")
"""The columns of candidates, as in COPA and SWAG."""
_CONTEXTS = ("premise", "startphrase", "context", "ctx")
"""The column of the text that precedes each of these candidates."""
_NO_CHOICE = -1
"""The prediction that is right as often as chance."""


class ChoiceHead(TaskHead):
    """One output for each candidate, and the softmax over those of an example."""

    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        return classification_sums(outputs.view(len(labels), -1), labels)


class Choice(Task):
    """The right one of the candidates of each example; all examples have as many."""

    kind = TaskKind.choice
    has_constant_baseline = False
    column_names = ColumnNames(labels=(*LABELS, "answer"), second=Second.always)
    head = ChoiceHead
    has_confusions = False
    pipeline = "multiple-choice"
    with_transformers = """import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer

model, tokenizer = (
    load.from_pretrained("{name}") for load in (AutoModelForMultipleChoice, AutoTokenizer)
)
texts = ["the crane is flying", "the crane are flying"]
batch = tokenizer(texts, padding=True, return_tensors="pt")
with torch.no_grad():
    model(**{{name: ids[None] for name, ids in batch.items()}}).logits.softmax(1)"""
    call = 'choose("the crane is flying", "the crane are flying")  # the right one'

    def columns(self, table: Table, config: TaskConfig, split: str, is_divided: bool) -> Columns:
        usual = {name.strip().lower(): name for name in reversed(table.columns)}
        if config.text_column is None and config.pair_column is None:
            if all(name in usual for name in SENTENCES) and config.label_column is None:
                good, bad = (usual[name] for name in SENTENCES)
                note = f"column '{good}' holds the right text and column '{bad}' the other one."
                return Columns([good, bad], good, [note])
            if candidates := _numbered(table.columns):
                context = next((usual[name] for name in _CONTEXTS if name in usual), None)
                names = self.column_names._replace(given=candidates, context=context)
                return choose_columns(table, config, names, may_lack_label=split == "test")
        return super().columns(table, config, split, is_divided)

    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        if columns.has_context:
            context, *texts = texts
            texts = [f"{context} {text}" for text in texts]
        return LabelledExample(tuple(texts), class_of(label, str(columns.label), place), place)

    def settled(
        self, splits: Mapping[str, Examples], columns: Mapping[str, Columns]
    ) -> dict[str, list[LabelledExample]]:
        """Returns the examples with the number of the right candidate, from 1, as their label.

        Whether numbers count from 0 or from 1 is the same in all splits. Where a column holds the
        right text, its place is drawn from the texts themselves, so that it says nothing.
        """
        given = {str(one.label) for examples in splits.values() for one in examples}
        first = 0 if "0" in given else 1
        found = {
            split: [_settled(one, columns[split], first) for one in examples]
            for split, examples in splits.items()
        }
        counts = {split: len(one.candidates) for split, one in columns.items()}
        for split, count in counts.items():
            if count != counts["train"]:
                raise UserError(
                    f"an example of {split} has {count} candidates, and one of train "
                    f"{counts['train']}: all need as many"
                )
        places = {one.label for one in found["train"]}
        if len(places) == 1 and columns["train"].label not in columns["train"].candidates:
            raise UserError(
                f"{found['train'][0].place.rpartition(', ')[0]}: every label is "
                f"'{splits['train'][0].label}', so the place alone says which text is right: name "
                f"the columns {' and '.join(SENTENCES)} instead, which are shown in drawn order"
            )
        return found

    def names(self, examples: Examples) -> list[str]:
        """Returns the numbers of the candidates, from 1."""
        return [str(number) for number in range(1, len(examples[0].texts) + 1)] if examples else []

    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        require_examples(examples, file)

    def encode(
        self, examples: Examples, names: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> Encoded:
        each = len(examples[0].texts) if examples else 1
        texts = [(text,) for example in examples for text in example.texts]
        sequences, cut = encode_texts(texts, tokenizer, max_length)
        of_example = np.array(cut, bool).reshape(-1, each).any(1)
        labels = self.labels(examples, names)
        return Encoded(sequences, labels, int(of_example.sum()), sequences_each=each)

    def outputs(self, names: Sequence[str], model: ModelConfig) -> int:
        return 1

    def predict(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        return outputs.reshape(len(split.labels), -1).argmax(1)

    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        return {"accuracy": float(_right(predicted, labels, names).mean())}

    def score_on(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> ScoreOn:
        right = _right(predicted, labels, names)
        return lambda chosen: float(right[chosen].mean())

    def baselines(
        self,
        splits: Mapping[str, Examples],
        labels: Mapping[str, np.ndarray],
        tokens_of: TokensOf,
    ) -> dict[str, np.ndarray]:
        chance = np.full(len(labels["test"]), _NO_CHOICE)
        return {"chance": chance, **tf_idf_choices(splits, labels, tokens_of)}

    def confidence(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        return softmax(outputs.reshape(len(split.labels), -1)).max(1)

    def described(self, names: Sequence[str]) -> str:
        return f"one of {len(names)} texts"

    def answers(self, names: Sequence[str]) -> str:
        return "which of several texts is right"

    def features(self, vectors: Tensor, widths: np.ndarray) -> Tensor:
        """Returns the difference of the two vectors of each example."""
        if widths.max() > 2:
            raise UserError(
                f"task=choice: a probe reads the difference of two texts, and these examples have "
                f"{widths.max()}: give two"
            )
        return vectors[:, ::2] - vectors[:, 1::2]


def _numbered(columns: Sequence[str]) -> list[str]:
    """Returns the columns of numbered candidates, in the order of their numbers."""
    found: dict[str, dict[int, str]] = {}
    for column in columns:
        if match := _NUMBERED.fullmatch(column.strip().lower()):
            found.setdefault(match[1], {})[int(match[2])] = column
    candidates: dict[int, str] = max(found.values(), key=len, default={})
    return [candidates[number] for number in sorted(candidates)] if len(candidates) > 1 else []


def _settled(example: LabelledExample, columns: Columns, first: int) -> LabelledExample:
    texts, label, count = example.texts, str(example.label), len(example.texts)
    if len({*texts}) < count:
        raise UserError(
            f"{example.place}: two candidates are the same text, so neither is right: take the row "
            "out"
        )
    if columns.label in columns.candidates:
        right = columns.candidates.index(columns.label)
        if sha256("\n".join(sorted(texts)).encode()).digest()[0] % 2:
            texts, right = texts[::-1], count - 1 - right
    elif label in columns.candidates:
        right = columns.candidates.index(label)
    elif label.isdecimal() and first <= int(label) < first + count:
        right = int(label) - first
    else:
        raise UserError(
            f"{example.place}: the label '{label}' in column '{columns.label}' names none of the "
            f"{count} candidates: it must be a number from {first} to {first + count - 1}, or one "
            f"of {', '.join(columns.candidates)}"
        )
    return replace(example, texts=texts, label=str(right + 1))


def _right(predicted: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns how right each prediction is, `(labels,)`."""
    return np.where(predicted == _NO_CHOICE, 1 / len(names), predicted == labels)
