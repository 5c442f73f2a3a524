"""The words of a context that answer a question, as in SQuAD."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_lightning.config import ModelConfig
from bert_lightning.config.task import LabelledConfig, Pooling, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.finetuning.answering.head import SpanHead
from bert_lightning.finetuning.answering.sentences import similar_sentences
from bert_lightning.finetuning.answering.spans import FoundAnswer, found_answers
from bert_lightning.finetuning.answering.windows import encode_questions
from bert_lightning.finetuning.labelled.answers import answers_of
from bert_lightning.finetuning.labelled.columns import ColumnNames, Columns, Second
from bert_lightning.finetuning.labelled.examples import LabelledExample, require_examples
from bert_lightning.finetuning.labelled.files import what_it_holds
from bert_lightning.finetuning.labelled.squad import squad_table
from bert_lightning.finetuning.labelled.tables import Table
from bert_lightning.finetuning.scoring.answers import answer_scores, f1
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.metrics import Scores
from bert_lightning.finetuning.tasks.sequences import Encoded
from bert_lightning.finetuning.tasks.task import Examples, Task, TokensOf

if TYPE_CHECKING:
    from bert_lightning.finetuning.encoding import EncodedSplit

NO_ANSWER = "no answer"
"""The one name of a label: that of questions which their context does not answer, if there are."""
_BETWEEN = "\0"
"""Between several right answers of a question; no text has it."""
_CONTEXTS = ("context", "paragraph", "passage")


class Question(Task):
    """A span of the context, or none."""

    kind = TaskKind.question
    has_constant_baseline = False
    column_names = ColumnNames(("question",), ("answers", "answer"), Second.always, _CONTEXTS)
    head = SpanHead
    has_confusions = False
    of_tokens = True
    can_be_probed = False
    too_long = "read in windows that overlap by half"
    pipeline = "question-answering"
    with_transformers = """from transformers import AutoModelForQuestionAnswering

model = AutoModelForQuestionAnswering.from_pretrained("{name}")  # start_logits, end_logits"""
    call = 'answer("What flew?", "A crane flew by.")  # text, start, end, probability'

    def table(self, file: Path, data: LabelledConfig, may_have_header: bool) -> Table:
        table = squad_table(file) if what_it_holds(file, self.kind).holds == "json" else None
        return super().table(file, data, may_have_header) if table is None else table

    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        answers = answers_of(label, texts[1] or "", str(columns.label), place)
        return LabelledExample(tuple(texts), answers, place)

    def names(self, examples: Examples) -> list[str]:
        return [] if all(example.label for example in examples) else [NO_ANSWER]

    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        require_examples(examples, file)
        if not any(example.label for example in examples):
            raise UserError(f"{file}: no question has an answer; there is nothing to learn")

    def together(self, example: LabelledExample) -> str:
        return example.texts[1]

    def encode(
        self, examples: Examples, names: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> Encoded:
        return encode_questions(examples, tokenizer, max_length, may_have_none=bool(names))

    def pooling(self, wanted: Pooling) -> Pooling:
        if wanted is not Pooling.auto:
            raise UserError(
                f"task.pooling={wanted.value} makes one vector of a sequence, and task=question "
                "asks each token whether the answer starts or ends there: omit it"
            )
        return Pooling.cls

    def outputs(self, names: Sequence[str], model: ModelConfig) -> int:
        return 2

    def predict(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        """Returns the text of the best span of each question; empty for no answer."""
        return np.array([found.text for found in _found(outputs, split)], np.str_)

    def right(self, split: "EncodedSplit", examples: Examples) -> np.ndarray:
        """Returns the right answers of each question as one string; empty for no answer."""
        return np.array([_BETWEEN.join(_texts(example)) for example in examples], np.str_)

    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        return answer_scores(predicted.tolist(), [one.split(_BETWEEN) for one in labels.tolist()])

    def score_on(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> ScoreOn:
        each = _f1_of_each(predicted, labels)
        return lambda chosen: float(each[chosen].mean())

    def baselines(
        self,
        splits: Mapping[str, Examples],
        labels: Mapping[str, np.ndarray],
        tokens_of: TokensOf,
    ) -> dict[str, np.ndarray]:
        return {"similar sentence": similar_sentences(splits["test"], tokens_of)}

    def shown(self, example: LabelledExample) -> list[str]:
        return [example.texts[0]]

    def confidence(self, outputs: np.ndarray, split: "EncodedSplit") -> np.ndarray:
        return np.array([found.probability for found in _found(outputs, split)])

    def badness(
        self, predicted: np.ndarray, labels: np.ndarray, confidence: np.ndarray
    ) -> np.ndarray:
        return np.where(_f1_of_each(predicted, labels) == 0, confidence, 0)

    def worded(self, value: Any, names: Sequence[str]) -> str:
        return str(value).replace(_BETWEEN, " | ") or NO_ANSWER

    def described(self, names: Sequence[str]) -> str:
        return "words of a context" + ", or none" * bool(names)

    def answers(self, names: Sequence[str]) -> str:
        return "the words of a context that answer a question" + ", or none" * bool(names)


def _texts(example: LabelledExample) -> list[str]:
    assert isinstance(example.label, tuple)
    return [answer.text for answer in example.label]


def _found(outputs: np.ndarray, split: "EncodedSplit") -> list[FoundAnswer]:
    assert split.windows is not None
    return found_answers(outputs, split.widths, split.windows)


def _f1_of_each(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    pairs = zip(predicted.tolist(), labels.tolist(), strict=True)
    return np.array([f1(answer, right.split(_BETWEEN)) for answer, right in pairs])
