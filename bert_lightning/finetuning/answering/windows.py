"""Questions and their contexts as sequences of tokens: windows, and which characters tokens are.

A context too long for one sequence is read in windows that overlap by half. With the question
"who ?" and batch.max_length=9, the context "a b c d e f" becomes

    [CLS] who ? [SEP] a b c d [SEP]   and   [CLS] who ? [SEP] c d e f [SEP]

An answer is a first and a last token among the candidates: `[CLS]`, which says that the window has
no answer, and the tokens of the context (Devlin et al., 2019, sections 4.2 and 4.3).
"""

import logging
import unicodedata
from collections.abc import Sequence

import numpy as np

from bert_lightning.batch import CLS, SEP
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.examples import Answer, LabelledExample
from bert_lightning.finetuning.tasks.sequences import Encoded, TokenSequence, Windows

_log = logging.getLogger(__name__)
_SPECIAL = 3
"""`[CLS]` and two `[SEP]`."""


def token_span(offsets: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """Returns the first and the last of the tokens that characters from `start` to `end` are in.

    They are the smallest span that covers these characters; None if no token has any of them.

    Args:
        offsets: `(tokens, 2)` where each token starts and ends.
        start: the first character.
        end: one past the last character.

    >>> token_span(np.array([[0, 3], [4, 9], [9, 10]]), 5, 10)
    (1, 2)
    """
    inside = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def window_starts(length: int, room: int) -> list[int]:
    """Returns where the windows of `room` tokens begin that together cover `length` tokens.

    >>> window_starts(6, 4), window_starts(4, 4), window_starts(9, 4)
    ([0, 2], [0], [0, 2, 4, 6])
    """
    step = max(1, room // 2)
    return [0, *range(step, length - room + step, step)]


def encode_questions(
    examples: Sequence[LabelledExample],
    tokenizer: Tokenizer,
    max_length: int,
    may_have_none: bool = False,
) -> Encoded:
    """Encodes questions, each with a window of its context; the outputs are those of candidates.

    A question is cut to half the window where it has more tokens, so that its context has the
    other half. `cut` counts contexts of more than one window. The labels, `(windows, 2)`, are the
    first and the last token of the answer, counted
    among the candidates: `[CLS]`, which is 0, where the window does not hold it whole.

    Raises:
        UserError: an answer has more tokens than any window of its context.
    """
    start, end = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
    asked = tokenizer.encode_batch([one.texts[0] for one in examples], add_special_tokens=False)
    texts = list(dict.fromkeys(example.texts[1] for example in examples))
    read = tokenizer.encode_batch(texts, add_special_tokens=False)
    contexts = {
        text: (encoding.ids, _with_marks(text, encoding.offsets))
        for text, encoding in zip(texts, read, strict=True)
    }
    sequences, questions, spans, characters = [], list[int](), list[tuple[int, int]](), []
    long, gone, cut = list[str](), list[str](), 0
    for number, (example, encoding) in enumerate(zip(examples, asked, strict=True)):
        context, offsets = contexts[example.texts[1]]
        question = encoding.ids[: (max_length - _SPECIAL) // 2]
        if len(question) < len(encoding):
            long.append(example.place)
        room = max_length - _SPECIAL - len(question)
        firsts = window_starts(len(offsets), room)
        cut += len(firsts) > 1
        answer = _first_answer(example)
        span = answer and token_span(offsets, answer.start, answer.start + len(answer.text))
        if answer and span is None:
            gone.append(example.place)
        if span and not any(first <= span[0] and span[1] < first + room for first in firsts):
            raise UserError(
                f"{example.place}: the answer has {span[1] - span[0] + 1} tokens, and no window "
                f"holds it whole: batch.max_length={max_length} tokens leave {room} beside the "
                "question; raise batch.max_length, or take the question out"
            )
        for first in firsts:
            ids = [start, *question, end, *context[first : first + room], end]
            before = len(question) + 2
            sequences.append(TokenSequence(ids, before, [0, *range(before, len(ids) - 1)]))
            questions.append(number)
            spans.append(_within(span, first, room))
            characters += [np.zeros((1, 2), np.int64), offsets[first : first + room]]
    _say("questions that have more tokens than half a window, and are cut", long)
    _say("answers of which the tokenizer leaves nothing, and that are learned as none", gone)
    return Encoded(
        sequences,
        np.array(spans, np.int64).reshape(-1, 2),
        cut,
        windows=Windows(
            [example.texts[1] for example in examples],
            np.array(questions, np.int64),
            np.concatenate([np.zeros((0, 2), np.int64), *characters]),
            may_have_none,
        ),
    )


def _say(what: str, places: Sequence[str]) -> None:
    if places:
        _log.warning("%s: %s (the first: %s)", what, f"{len(places):,}", places[0])


def _with_marks(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns the places of tokens `(tokens, 2)`, with the accents that a normalizer deleted."""
    places = np.array(offsets, np.int64).reshape(-1, 2)
    if not text.isascii():
        for token, end in enumerate(places[:, 1].tolist()):
            while end < len(text) and unicodedata.combining(text[end]):
                end += 1
            places[token, 1] = end
    return places


def _first_answer(example: LabelledExample) -> Answer | None:
    """Returns the answer that is learned: where several are right, the first."""
    assert isinstance(example.label, tuple)
    return example.label[0] if example.label else None


def _within(span: tuple[int, int] | None, first: int, room: int) -> tuple[int, int]:
    """Returns where a span of the context's tokens is among the candidates of a window."""
    if span is None or span[0] < first or span[1] >= first + room:
        return 0, 0
    return span[0] - first + 1, span[1] - first + 1
