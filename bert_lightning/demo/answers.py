"""What a tab of the page asks for, and the kinds of answers that it shows."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bert_lightning.batch import UNK
from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.predict import FineTunedBert
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.represent import Text, tokenize, words_of

if TYPE_CHECKING:  # slow to import
    from bert_lightning.pictures.style import Picture

Model = PretrainedBert | FineTunedBert


@dataclass(frozen=True)
class Probabilities:
    """Names with their probabilities, the likeliest first."""

    rows: Sequence[tuple[str, float]]
    rest: str = ""
    """What the remaining probability belongs to; empty where none remains."""


@dataclass(frozen=True)
class Labelled:
    """A text in parts, each with its label; a part without a label has an empty one."""

    parts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Line:
    """A short answer in words."""

    text: str


@dataclass(frozen=True)
class Pictures:
    """Figures, beside one another where there is room."""

    figures: "Sequence[Picture]"


class Answer(NamedTuple):
    """What is shown, and what its reader has to know of it."""

    shown: Probabilities | Labelled | Line | Pictures
    notes: Sequence[str] = ()


class Field(NamedTuple):
    """A text that a tab asks for."""

    label: str
    text: str
    """What it opens with."""
    lines: int = 1


@dataclass(frozen=True)
class Tab:
    """A question to a model."""

    title: str
    explanation: str
    """What is asked, and how to read the answer."""
    fields: Sequence[Field]
    answer: Callable[..., Answer]
    """Takes a model, the texts and, if `has_layer`, a layer; a UserError says what is unfit."""
    has_layer: bool = False
    heads: frozenset[str] = frozenset()
    """The pretrained heads that it needs, such as `mlm_head`."""
    task: TaskKind | None = None
    """The task that a model has to be fine-tuned for; None asks the pretrained model."""


def notes_on(model: Model, texts: Sequence[Text]) -> list[str]:
    """Returns what a model does not read of texts, or pairs: the end of long ones, unknown words.

    Raises:
        UserError: a text is empty.
    """
    encodings = tokenize(model.tokenizer, texts, sys.maxsize, truncate=False)
    lengths = [*map(len, encodings)]
    notes = [
        f"{f'Text {place}' if len(texts) > 1 else 'The text'} has {length:,} tokens with [CLS] and "
        f"[SEP], and the model reads {model.max_length:,}: the rest is left out."
        for place, length in enumerate(lengths, start=1)
        if length > model.max_length
    ]
    unknown = [
        f"'{word.text}'"
        for text, encoding in zip(texts, encodings, strict=True)
        for word in words_of(model.tokenizer, encoding, text)
        if UNK in encoding.tokens[word.tokens]
    ]
    if unknown:
        notes.append(f"Not in the vocabulary, and read as [UNK]: {', '.join(unknown)}.")
    return notes
