"""The answers of a question: spans of its context, each a text and the character it starts at."""

from collections.abc import Sequence
from typing import Any

from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.examples import Answer


def answers_of(cell: Any, context: str, column: str, place: str) -> tuple[Answer, ...]:
    """Returns the answers of a cell; none for a question that its context does not answer.

    The cell is a list of objects with `text` and `answer_start`, as in SQuAD's JSON, or one object
    with a list of each, as on the hub.

    Raises:
        UserError: the cell holds something else, or an answer does not stand in the context.
    """
    answers = []
    for text, start in _pairs(cell, column, place):
        if not isinstance(text, str) or type(start) is not int or not text.strip():
            raise UserError(
                f"{place}: an answer in column '{column}' has the text {text!r} and the "
                f"answer_start {start!r}: it needs a text and a whole number"
            )
        if start < 0 or not context.startswith(text, start):
            raise UserError(f"{place}: {_misplaced(text, start, context)}")
        answers.append(Answer(text, start))
    return tuple(answers)


def _pairs(cell: Any, column: str, place: str) -> Sequence[tuple[Any, Any]]:
    if isinstance(cell, dict):
        texts, starts = cell.get("text"), cell.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            return list(zip(texts, starts, strict=True))
    if isinstance(cell, list) and all(isinstance(answer, dict) for answer in cell):
        return [(answer.get("text"), answer.get("answer_start")) for answer in cell]
    if cell is None:
        raise UserError(
            f"{place}: column '{column}' has no answer: give one, take the question out, or mark "
            'it with "is_impossible": true if its context does not answer it'
        )
    raise UserError(
        f"{place}: column '{column}' holds {type(cell).__name__} and not answers, such as "
        '[{"text": "crane", "answer_start": 2}]'
    )


def _misplaced(text: str, start: int, context: str) -> str:
    """Words the error of an answer that is not where its number says."""
    first = context.find(text)
    found = "and not in the context at all"
    if first >= 0:
        more = " and elsewhere" if first != context.rfind(text) else ""
        found = f"but at {first}{more}"
    return (
        f"the answer {text[:60]!r} does not stand at its answer_start={start}, {found}: mend the "
        "number, which counts characters from 0, or take the question out"
    )
