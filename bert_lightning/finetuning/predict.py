"""A fine-tuned model, ready for text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.corpus.tokenizer import Encoding, Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.finetuning.answering.spans import FoundAnswer, found_answers
from bert_lightning.finetuning.batches import TaskEvaluationBatches, TaskExamples
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.model import BertForTask, HeadShape
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.inference.loaded import require_rows
from bert_lightning.inference.represent import Text, packed, segments, tokenize
from bert_lightning.model.bert import inference_mode
from bert_lightning.pretrained.sources import PretrainedSource, misfit
from bert_lightning.pretrained.task_head import TaskDescription

_TOKENS_TOGETHER = 8192
"""Tokens of a batch; no output depends on it."""


class Prediction(NamedTuple):
    """The likeliest class, and how likely the model says it is."""

    label: str
    """Its name; for `choice` the text itself."""
    probability: float


def describe_task(shape: HeadShape, names: Sequence[str]) -> TaskDescription:
    """Returns what a checkpoint says of its task, in plain types."""
    kind, outputs, pooling = shape.kind.value, shape.outputs, shape.pooling.value
    return TaskDescription(kind=kind, outputs=outputs, pooling=pooling, names=list(names))


def shape_of(task: TaskDescription) -> HeadShape:
    """Returns the head that :func:`describe_task` describes."""
    return HeadShape(TaskKind(task["kind"]), task["outputs"], Pooling(task["pooling"]))


@dataclass(frozen=True, eq=False)
class FineTunedBert:
    """A model of one task with its tokenizer and the names of its labels.

    Methods raise a UserError for a text that they cannot use, and for a question that is not the
    model's task.
    """

    model: BertForTask
    tokenizer: Tokenizer
    names: Sequence[str]
    """The names of the classes, in the order of the outputs; none for numbers."""
    origin: str = ""
    """The file or folder that it was loaded from."""

    def __post_init__(self) -> None:
        require_rows(self.model, self.tokenizer)

    def __repr__(self) -> str:
        shape = self.model.shape
        what = task_of(shape.kind).described(self.names)
        return f"FineTunedBert({shape.kind.value}: {what}{self.origin and f'; from {self.origin}'})"

    @property
    def max_length(self) -> int:
        """The tokens of the longest text that the model reads."""
        return self.model.config.max_position_embeddings

    def classify(
        self, first: str, second: str | None = None, *, truncate: bool = False
    ) -> Prediction:
        """Returns the likeliest class of a text, or of a pair."""
        return self.classify_many(
            [first if second is None else (first, second)], truncate=truncate
        )[0]

    def classify_many(self, texts: Sequence[Text], *, truncate: bool = False) -> list[Prediction]:
        """Returns the likeliest class of each text or pair."""
        return [
            max((Prediction(*one) for one in by_name.items()), key=lambda one: one.probability)
            for by_name in self.probabilities(texts, truncate=truncate)
        ]

    def probabilities(
        self, texts: Sequence[Text], *, truncate: bool = False
    ) -> list[dict[str, float]]:
        """Returns the probability of each class, by its name, for each text or pair."""
        self._require("classes of texts", TaskKind.text, TaskKind.pair)
        outputs = self._outputs_of_texts(texts, truncate).softmax(1)
        return [dict(zip(self.names, row, strict=True)) for row in outputs.tolist()]

    def score(self, first: str, second: str | None = None, *, truncate: bool = False) -> float:
        """Returns the number of a text, or of a pair."""
        return self.score_many([first if second is None else (first, second)], truncate=truncate)[0]

    def score_many(self, texts: Sequence[Text], *, truncate: bool = False) -> list[float]:
        """Returns the number of each text or pair."""
        self._require("numbers", TaskKind.number)
        return self._outputs_of_texts(texts, truncate)[:, 0].tolist()

    def choose(self, *texts: str, truncate: bool = False) -> Prediction:
        """Returns the text that is right, the likeliest of these."""
        return self.choose_many([texts], truncate=truncate)[0]

    def choose_many(
        self, examples: Sequence[Sequence[str]], *, truncate: bool = False
    ) -> list[Prediction]:
        """Returns the text that is right, of the texts of each example."""
        self._require("one of several texts", TaskKind.choice)
        if any(isinstance(texts, str) or len(texts) < 2 for texts in examples):
            raise UserError("an example has fewer than two texts to choose from: give two or more")
        flat = [text for texts in examples for text in texts]
        outputs = self._outputs_of_texts(flat, truncate)[:, 0]
        found = []
        for texts, logits in zip(examples, outputs.split([*map(len, examples)]), strict=True):
            best = int(logits.argmax())
            found.append(Prediction(texts[best], float(logits.softmax(0)[best])))
        return found

    def tag(self, words: str | Sequence[str]) -> list[tuple[str, str]]:
        """Returns each word with its label; a text is divided at its spaces."""
        return self.tag_many([words.split() if isinstance(words, str) else words])[0]

    def tag_many(self, sentences: Sequence[Sequence[str]]) -> list[list[tuple[str, str]]]:
        """Returns each word with its label, for each sentence. Long ones are read in parts."""
        self._require("labels of words", TaskKind.tokens)
        examples = [
            LabelledExample(tuple(words), [self.names[0]] * len(words), "") for words in sentences
        ]
        best = outputs_of(self.model, self._encode(examples)).argmax(1).tolist()
        ends = [0, *accumulate(map(len, sentences))]
        return [
            list(zip(words, (self.names[number] for number in best[start:end]), strict=True))
            for words, (start, end) in zip(sentences, pairwise(ends), strict=True)
        ]

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> Tensor:
        """Returns the vector of each text, `(texts, hidden)` float32, of length 1."""
        self._require("vectors of texts", TaskKind.sentence)
        encodings = self._encodings(texts, truncate)
        size = max(1, _TOKENS_TOGETHER // max(map(len, encodings), default=1))
        vectors = [torch.empty(0, self.model.shape.outputs)]
        with inference_mode(self.model):
            for start in range(0, len(encodings), size):
                sequences = packed(self.model, encodings[start : start + size])
                found = self.model(sequences, sequences.cu_seqlens[:-1])
                vectors.append(found.float().cpu())
        return torch.cat(vectors)

    def similarity(self, first: str, second: str, *, truncate: bool = False) -> float:
        """Returns the cosine of the vectors of two texts."""
        a, b = self.encode([first, second], truncate=truncate)
        return float(a @ b)

    def answer(self, question: str, context: str) -> FoundAnswer:
        """Returns the words of a context that answer a question; a long context is read in parts.

        A model that was trained with unanswerable examples may find none.
        """
        return self.answer_many([(question, context)])[0]

    def answer_many(self, questions: Sequence[tuple[str, str]]) -> list[FoundAnswer]:
        """Returns the answer of each question, given with its context."""
        self._require("answers of questions", TaskKind.question)
        for number, texts in enumerate(questions):
            for what, text in zip(("question", "context"), texts, strict=True):
                if not text.strip():
                    raise UserError(f"the {what} of entry {number} is empty: it needs text")
        examples = [LabelledExample(texts, (), "a question") for texts in questions]
        split = self._encode(examples)
        assert split.windows is not None
        outputs = outputs_of(self.model, split).numpy()
        return found_answers(outputs, split.widths, split.windows)

    def _require(self, what: str, *kinds: TaskKind) -> None:
        if (own := self.model.shape.kind) not in kinds:
            raise UserError(
                f"this model was fine-tuned for task={own.value}, and this asks for {what}: "
                f"load one of task={' or task='.join(kind.value for kind in kinds)}"
            )

    def _encodings(self, texts: Sequence[Text], truncate: bool) -> list[Encoding]:
        if isinstance(texts, str):
            raise UserError(f"expects a list of texts, not one text ({texts[:40]!r})")
        return tokenize(self.tokenizer, texts, self.max_length, truncate=truncate)

    def _outputs_of_texts(self, texts: Sequence[Text], truncate: bool) -> Tensor:
        self._encodings(texts, truncate)  # refuses what is unfit
        label: Any = self.names[0] if self.names else 0.0
        examples = [LabelledExample(tuple(segments(text)), label, "") for text in texts]
        return outputs_of(self.model, self._encode(examples))

    def _encode(self, examples: Sequence[LabelledExample]) -> EncodedSplit:
        kind = self.model.shape.kind
        return encode_split(examples, kind, self.names, self.tokenizer, self.max_length)


def outputs_of(model: BertForTask, split: EncodedSplit) -> Tensor:
    """Returns the outputs for all positions of a split, `(positions, outputs)` fp32, on the CPU."""
    outputs = torch.empty(len(split.positions), model.shape.outputs)
    device = model.encoder.embeddings.word.weight.device
    with inference_mode(model):
        for batch in batches_of(split, model.shape.kind.value):
            found = model(batch.sequences.on(device), batch.positions.to(device))
            outputs[batch.output_index] = found.float().cpu()
    return outputs


def batches_of(split: EncodedSplit, task: str) -> Iterator[TaskBatch]:
    """Yields the batches of a split, every example once."""
    if not len(split):
        return
    longest = int(np.diff(split.starts).max()) * split.sequences_each
    size = max(1, _TOKENS_TOGETHER // longest)
    batches = TaskEvaluationBatches(TaskExamples(split, task, 0), size)
    yield from (batches[number] for number in range(len(batches)))


def fine_tuned(source: PretrainedSource) -> FineTunedBert:
    """Builds the model of a checkpoint, or of a folder, that describes its task."""
    task: TaskDescription = source.about["task"]
    try:
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = BertForTask(source.config, source.vocab_size, shape_of(task))
        model.load_state_dict({name: source.state[name] for name in model.state_dict()})
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise misfit(source.name, error) from error
    return FineTunedBert(model.eval(), source.tokenizer, task["names"], source.name)
