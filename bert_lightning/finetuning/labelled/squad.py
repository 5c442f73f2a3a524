"""Questions about paragraphs, in SQuAD's JSON (Rajpurkar et al., 2016; with version 2's questions).

{"data": [{"paragraphs": [{"context": "A crane flew.", "qas": [
    {"id": "1", "question": "What flew?", "answers": [{"text": "crane", "answer_start": 2}]},
    {"id": "2", "question": "Who sang?", "answers": [], "is_impossible": true}]}]}]}
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.lines import open_text
from bert_lightning.corpus.readers.table_files import Row
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.tables import Table

COLUMNS = ["question", "context", "answers"]


def squad_table(file: Path) -> Table | None:
    """Opens a file of SQuAD's JSON; returns None for JSON that holds rows, as other tables do.

    Raises:
        UserError: it is not JSON, or JSON of another form.
    """
    name = shown(file.absolute())
    with open_text(file) as stream:
        first = stream.readline()
        if first.lstrip().startswith("[") or _is_row(first):
            return None
        content = _parsed(first + stream.read(), name)
    articles = _list(content, "data", name, "the file")
    return Table(name, COLUMNS, lambda wanted: _rows(articles, name, wanted))


def _is_row(line: str) -> bool:
    """Whether a line is a whole object and not all of SQuAD's."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not isinstance(found, dict) or "data" not in found


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{name} is not JSON: {error}; task=question reads SQuAD's JSON, or an object a line "
            "with question, context and answers"
        ) from error


def _rows(articles: Sequence[Any], name: str, wanted: Sequence[str]) -> Iterator[Row]:
    for number, article in enumerate(articles, 1):
        paragraphs = _list(article, "paragraphs", name, f"article {number}")
        for of_article, paragraph in enumerate(paragraphs, 1):
            place = f"paragraph {of_article} of article {number}"
            for asked, question in enumerate(_list(paragraph, "qas", name, place), 1):
                own = f"question {asked} of {place}"
                if not isinstance(question, dict):
                    raise UserError(f"{name}: {own} is {type(question).__name__}, not an object")
                has_none = question.get("is_impossible") is True
                answers = [] if has_none else question.get("answers") or None
                cells = {**question, "context": paragraph.get("context"), "answers": answers}
                if "id" in question:
                    own = f"question {question['id']}"
                yield Row(own, [cells.get(column) for column in wanted])


def _list(holder: Any, key: str, name: str, place: str) -> Sequence[Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, list):
        raise UserError(
            f"{name}: {place} has no list '{key}': SQuAD's JSON has data, in it paragraphs, each "
            "with a context and qas, and in these question, id and answers"
        )
    return found
