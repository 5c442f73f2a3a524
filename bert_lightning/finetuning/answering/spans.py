"""The likeliest span of a context, from the outputs of its windows."""

from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bert_lightning.finetuning.tasks.sequences import Windows

MOST_TOKENS = 64
"""Tokens of the longest answer. Devlin et al. (2019) allow 30, which is enough for English; where
each Chinese character is a token, 14 of XQuAD's 1,190 answers have more, and one has 66."""


class Span(NamedTuple):
    """A span of candidates, counted over all windows."""

    first: int
    last: int
    """Both are the window's `[CLS]` if it has no answer."""
    score: float
    """The logit that the answer starts there plus the one that it ends there."""
    probability: float
    """Among all the spans of its window, and no answer, where that is allowed."""


class FoundAnswer(NamedTuple):
    """The words of a context that answer a question."""

    text: str
    """Empty where the context has no answer."""
    start: int
    """The first character of the context."""
    end: int
    """One past the last."""
    probability: float
    """How likely the model says it is, among all that it could have answered."""


def found_answers(outputs: np.ndarray, widths: np.ndarray, windows: Windows) -> list[FoundAnswer]:
    """Returns the best answer of each question, from outputs as :func:`best_spans` reads them."""
    spans = best_spans(outputs, widths, windows.questions, windows.may_have_none)
    found = []
    for context, span in zip(windows.contexts, spans, strict=True):
        start, end = int(windows.characters[span.first, 0]), int(windows.characters[span.last, 1])
        found.append(FoundAnswer(context[start:end], start, end, span.probability))
    return found


def best_spans(
    outputs: np.ndarray, widths: np.ndarray, questions: np.ndarray, may_have_none: bool
) -> list[Span]:
    """Returns the span with the highest score of each question, over all of its windows.

    "No answer" has the score of `[CLS]`, in the window where that is lowest (Devlin et al., 2019,
    section 4.3).

    Args:
        outputs: `(candidates, 2)` logits of start and end.
        widths: `(windows,)` the candidates of each window; the first is `[CLS]`.
        questions: `(windows,)` the question of each, in their order.
        may_have_none: whether "no answer" is one.
    """
    bounds = pairwise(accumulate(widths.tolist(), initial=0))
    of_windows = [
        (question, _of_window(outputs[start:end].astype(np.float64), start, may_have_none))
        for question, (start, end) in zip(questions.tolist(), bounds, strict=True)
    ]
    found = []
    for _, windows in groupby(of_windows, itemgetter(0)):
        answers, nones = zip(*(spans for _, spans in windows), strict=True)
        best, none = max(answers, key=_score), min(nones, key=_score)
        found.append(none if may_have_none and none.score > best.score else best)
    return found


def _of_window(outputs: np.ndarray, place: int, may_have_none: bool) -> tuple[Span, Span]:
    """Returns the best span of the context in a window, and "no answer"."""
    none, starts, ends = outputs[0].sum(), outputs[1:, 0], outputs[1:, 1]
    most = min(MOST_TOKENS, len(starts))
    if not most:
        return Span(place, place, -np.inf, 0.0), Span(place, place, none, 1.0)
    after = np.concatenate([ends, np.full(most - 1, -np.inf)])
    scores = starts[:, None] + sliding_window_view(after, most)  # [i, j]: from i to i + j
    considered = np.append(scores, none) if may_have_none else scores
    top = considered.max()
    total = top + np.log(np.exp(considered - top).sum())
    first, more = np.unravel_index(scores.argmax(), scores.shape)
    start, best = place + 1 + int(first), scores[first, more]
    answer = Span(start, start + int(more), float(best), float(np.exp(best - total)))
    return answer, Span(place, place, float(none), float(np.exp(none - total)))


def _score(span: Span) -> float:
    return span.score
