"""Labelled data, and what is learned from it: the options of fine-tuning and of probes."""

from dataclasses import dataclass, fields
from enum import Enum
from typing import ClassVar

from bert_lightning.config.affects import (
    ARCHITECTURE,
    EXECUTION,
    LEARNING,
    PLACE,
    TEXT,
    check_limits,
    listed,
    option,
)
from bert_lightning.errors import UserError


class TaskKind(Enum):
    """What a label belongs to, and what it is."""

    text = "text"
    """One of several classes, for a text."""
    pair = "pair"
    """One of several classes, for two texts."""
    number = "number"
    """A number, for a text or for two."""
    tokens = "tokens"
    """One of several classes for each word, such as entities and parts of speech."""
    choice = "choice"
    """The right one of two or more texts."""
    sentence = "sentence"
    """No label: the vector of a text, close to those of texts that mean the same."""
    question = "question"
    """The words of a text that answer a question."""


class Positives(Enum):
    """Which two texts belong together when sentence vectors are trained."""

    dropout = "dropout"
    """A text and the same text, through two masks of dropout (unsupervised SimCSE)."""
    pairs = "pairs"
    """The two texts of a row, such as paraphrases, or a premise and what follows from it."""


class Pooling(Enum):
    """The one vector that stands for a sequence."""

    auto = "auto"
    """`pooler` where it is pretrained, else `mean`; `mean` for sentence vectors."""
    pooler = "pooler"
    """BERT's: that of `[CLS]` through a layer of its own, which NSP pretrains."""
    cls = "cls"
    """That of `[CLS]`."""
    mean = "mean"
    """The mean over all tokens."""


_OF_SENTENCES = {"positives", "min_score", "group_size", "temperature"}


@dataclass
class TaskConfig:
    """What is predicted, from which columns."""

    kind: TaskKind = option(TaskKind.text, LEARNING | ARCHITECTURE)
    """`text`: one text to a class; `pair`: two texts to a class; `number`: one text or two to a
    number; `tokens`: each word to a class; `choice`: the right one of several texts; `sentence`: a
    text to a vector; `question`: a question and its context to a span."""
    text_column: str | None = option(None, TEXT)
    """The column of the text; for `tokens` that of the words. Null finds it by its usual names:
    text, sentence, sentence1, question, question1, premise; tokens, words, form."""
    pair_column: str | None = option(None, TEXT)
    """The column of the second text. Null finds it by its usual names: text_pair, sentence2,
    hypothesis, question2; for `choice` sentence_good and sentence_bad, or numbered columns such as
    choice1 and choice2; for `question` context, paragraph, passage."""
    label_column: str | None = option(None, TEXT)
    """The column of the label. Null finds it by its usual names: label, labels, category, class,
    score, rating; for `tokens` labels, tags, ner_tags, pos_tags, label, upos; for `question`
    answers, answer."""
    pooling: Pooling = option(Pooling.auto, LEARNING | ARCHITECTURE)
    """The vector that stands for a sequence: `pooler`, `cls`, `mean`, or `auto`: the pooler where
    it is pretrained, else the mean; `sentence` takes the mean."""
    dropout: float | None = option(None, LEARNING | ARCHITECTURE, at_least=0, below=1)
    """Dropout of hidden states and attention weights; null keeps that of pretraining."""
    positives: Positives = option(Positives.dropout, TEXT | LEARNING)
    """Which texts of train belong together for `sentence`: `dropout`, each text and itself, or
    `pairs`, the two of a row."""
    min_score: float | None = option(None, TEXT | LEARNING)
    """The least score of a row of train whose texts belong together, for `positives=pairs`; rows
    without scores all do."""
    group_size: int | None = option(None, LEARNING, at_least=2)
    """Consecutive examples of a step whose texts are each other's negatives, for `sentence`; null
    is the whole global batch. A micro-batch holds whole groups."""
    temperature: float = option(0.05, LEARNING, above=0)
    """Divides the cosines in the loss of `sentence`."""

    def __post_init__(self) -> None:
        check_limits(self, "task.")
        if self.kind is not TaskKind.sentence:
            for own in fields(self):
                value = getattr(self, own.name)
                if own.name in _OF_SENTENCES and value != own.default:
                    shown = value.value if isinstance(value, Enum) else value
                    raise UserError(
                        f"task.{own.name}={shown} belongs to sentence vectors, and this is "
                        f"task={self.kind.value}: omit it, or use task=sentence"
                    )
        elif self.min_score is not None and self.positives is not Positives.pairs:
            raise UserError(
                f"task.min_score={self.min_score:g} chooses rows whose two texts belong together, "
                "and task.positives=dropout takes each text for itself: omit it, or use "
                "task.positives=pairs"
            )


@dataclass
class LabelledConfig:
    """Where the labelled examples come from, and how they are split."""

    path: str | None = option(None, TEXT | PLACE)
    """A file of labelled examples (.csv, .tsv, .jsonl, .parquet, .conll of words, or SQuAD's
    .json), or a folder with files named train, dev (or validation) and test."""
    hub_repository: str | None = option(None, TEXT)
    """A data set of the Hugging Face hub, instead of files."""
    hub_name: str | None = option(None, TEXT)
    """The configuration within that data set; null is its only one."""
    hub_revision: str | None = option(None, TEXT)
    """The commit of that data set; null is its newest."""
    validation_path: str | None = option(None, TEXT | PLACE)
    """The file of the validation split; null takes it from the folder, or holds out of train."""
    test_path: str | None = option(None, TEXT | PLACE)
    """The file of the test split; null takes it from the folder, or holds out of train."""
    columns: list[str] = listed(TEXT)
    """The names of the columns, in their order, of files that have no header."""
    validation_fraction: float = option(0.1, TEXT, above=0, below=1)
    """Fraction of train held out for validation, where there is no such file."""
    test_fraction: float = option(0.1, TEXT, above=0, below=1)
    """Fraction of train held out for testing, where there is no such file. The validation split
    chooses the checkpoint, so the test split alone says how good it is."""
    split_seed: int = option(0, TEXT, at_least=0)
    """Decides which examples are held out; not `seed`, so that runs of other seeds are scored on
    the same examples."""
    examples_per_class: int | None = option(None, TEXT | LEARNING, at_least=1)
    """Training examples kept of each class, drawn by the seed; null keeps all."""
    train_examples: int | None = option(None, TEXT | LEARNING, at_least=1)
    """Training examples kept in all, drawn by the seed; null keeps all."""

    def __post_init__(self) -> None:
        check_limits(self, "data.")
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                f"data.validation_fraction={self.validation_fraction:g} and "
                f"data.test_fraction={self.test_fraction:g} leave nothing to train on: "
                "their sum must stay below 1"
            )
        if self.path is not None and self.hub_repository is not None:
            raise UserError(
                f"data.path={self.path} and data.hub_repository={self.hub_repository} both say "
                "where the examples are: omit one of them"
            )
        for name in ("validation_path", "test_path", "columns"):
            if getattr(self, name) and self.hub_repository is not None:
                raise UserError(
                    f"data.{name} belongs to files, and data.hub_repository={self.hub_repository} "
                    "names its own columns and splits: omit one of them"
                )
        if self.examples_per_class is not None and self.train_examples is not None:
            raise UserError(
                f"data.examples_per_class={self.examples_per_class} and "
                f"data.train_examples={self.train_examples} both choose the training examples: "
                "omit one of them"
            )


@dataclass
class LabelledBatchConfig:
    """The batches of labelled examples."""

    max_length: int = option(128, LEARNING, at_least=5)
    """Maximum tokens of an example, `[CLS]` and `[SEP]` included; longer texts are cut, longer
    sequences of labelled words are divided, and a longer context of a question is read in windows.
    """
    global_batch_size: int = option(32, LEARNING, at_least=1)
    """Examples that one optimizer step sees, over all devices."""
    micro_batch_size: int | None = option(None, LEARNING, at_least=1)
    """Examples that one device holds at a time; null chooses the largest that fits into memory."""
    num_workers: int = option(0, EXECUTION, at_least=0)
    """Processes that build batches; 0 builds them in the training process."""

    phases: ClassVar[None] = None
    """As in pretraining without phases: all steps have the same length and batch size."""

    def __post_init__(self) -> None:
        check_limits(self, "batch.")


@dataclass
class ProbeConfig:
    """A probe while a model pretrains: what its layers say of labels, without training them."""

    path: str | None = option(None, EXECUTION | PLACE)
    """Labelled examples, a file or a folder as fine-tuning reads them; null probes nothing. The
    probe is fitted to their train split and scored on their validation split."""
    task: TaskKind = option(TaskKind.text, EXECUTION)
    """What a label belongs to: `text`, `pair`, `tokens` or `choice`."""
    every_n_validations: int = option(1, EXECUTION, at_least=1)
    """Validations from one probe to the next; the one after the last step has a probe too."""
    examples: int = option(1000, EXECUTION, at_least=2)
    """About how many labels the probe is fitted to, and on how many it is scored, at most."""

    def __post_init__(self) -> None:
        check_limits(self, "probe.")
