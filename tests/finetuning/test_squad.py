"""Questions are read from SQuAD's JSON and from rows, and a mistake is named with its question."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from labelled_files import read, refusal

from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.answers import answers_of
from bert_lightning.finetuning.labelled.squad import COLUMNS, squad_table
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.finetuning.tasks.question import NO_ANSWER

CONTEXT = "A crane flew over the crane's nest."
ANSWERED: dict[str, Any] = {
    "id": "q1",
    "question": "What flew?",
    "answers": [{"text": "crane", "answer_start": 2}],
}


def squad(*questions: Any, **paragraph: Any) -> dict[str, Any]:
    return {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [*questions], **paragraph}]}]}


def written(folder: Path, content: Any, **options: Any) -> Path:
    file = folder / "questions.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content, **options))
    return file


@pytest.mark.parametrize("options", [{}, {"indent": 2}])
def test_every_question_is_a_row(tmp_path: Path, options: dict[str, Any]) -> None:
    none = {"id": "q2", "question": "Who sang?", "is_impossible": True, "answers": []}
    unsaid = {"question": "Who sang?", "answers": []}
    table = squad_table(written(tmp_path, squad(ANSWERED, none, unsaid), **options))
    assert table is not None
    assert table.columns == COLUMNS
    rows = list(table.rows(["context", "question", "answers"]))
    assert rows[0].cells == [CONTEXT, "What flew?", ANSWERED["answers"]]
    assert [row.cells[2] for row in rows[1:]] == [[], None]
    places = ["question q1", "question q2", "question 3 of paragraph 1 of article 1"]
    assert [row.place for row in rows] == places


@pytest.mark.parametrize("text", ['{"question": "What?"}\n{"question": "Who?"}', "[{}]"])
def test_json_of_rows_is_left_to_the_reader_of_tables(tmp_path: Path, text: str) -> None:
    assert squad_table(written(tmp_path, text)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [', "is not JSON: Expecting value: line 1 column 11 (char 10); task=question"),
        ({"data": {"paragraphs": []}}, "the file has no list 'data'"),
        ({"data": [{"title": "Cranes"}]}, "article 1 has no list 'paragraphs'"),
        ({"data": [{"paragraphs": [{"context": "A"}]}]}, "paragraph 1 of article 1 has no list"),
        ({"data": [{"paragraphs": ["A"]}]}, "paragraph 1 of article 1 has no list 'qas'"),
        (squad("What?"), "question 1 of paragraph 1 of article 1 is str, not an object"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(UserError) as refused:
        list(squad_table(file).rows(COLUMNS))  # type: ignore[union-attr]
    assert str(file) in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "cell",
    [
        [{"text": "crane", "answer_start": 2}, {"text": "nest", "answer_start": 30}],
        {"text": ["crane", "nest"], "answer_start": [2, 30]},
    ],
)
def test_answers_are_objects_or_lists(cell: Any) -> None:
    assert answers_of(cell, CONTEXT, "answers", "here") == (("crane", 2), ("nest", 30))


@pytest.mark.parametrize("cell", [[], {"text": [], "answer_start": []}])
def test_a_question_may_have_no_answer(cell: Any) -> None:
    assert answers_of(cell, CONTEXT, "answers", "here") == ()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            [{"text": "nest", "answer_start": 3}],
            "the answer 'nest' does not stand at its answer_start=3, but at 30: mend",
        ),
        (
            [{"text": "crane", "answer_start": -5}],
            "the answer 'crane' does not stand at its answer_start=-5, but at 2 and elsewhere",
        ),
        (
            [{"text": "swan", "answer_start": 2}],
            "the answer 'swan' does not stand at its answer_start=2, and not in the context at all",
        ),
        (None, "column 'answers' has no answer: give one, take the question out, or mark it"),
        ("crane", "column 'answers' holds str and not answers, such as"),
        ({"text": ["crane"], "answer_start": []}, "column 'answers' holds dict and not answers"),
        ([{"text": "crane"}], "has the text 'crane' and the answer_start None: it needs"),
        ([{"text": "", "answer_start": 0}], "has the text '' and the answer_start 0: it needs"),
        ([{"text": "A", "answer_start": False}], "the answer_start False: it needs"),
    ],
)
def test_a_wrong_answer_is_named_with_its_question(cell: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        answers_of(cell, CONTEXT, "answers", "questions.json, question q1")
    assert str(refused.value).startswith("questions.json, question q1: ")
    assert message in str(refused.value)


def paragraphs(count: int) -> dict[str, Any]:
    """Contexts of three questions each; the last question of the first has no answer."""
    made = []
    for number in range(count):
        context = f"Crane {number} flew over river {number}."
        answers = {"where": f"river {number}", "what": "flew", "how": "over"}
        qas: list[dict[str, Any]] = [
            {
                "id": f"{number}-{asked}",
                "question": f"Crane {number}: {asked}?",
                "answers": [{"text": answer, "answer_start": context.index(answer)}],
            }
            for asked, answer in answers.items()
        ]
        made.append({"context": context, "qas": qas})
    made[0]["qas"][2] |= {"answers": [], "is_impossible": True}
    return {"data": [{"paragraphs": made}]}


def test_questions_of_one_context_are_held_out_together(tmp_path: Path) -> None:
    data = read(written(tmp_path, paragraphs(20)), TaskKind.question)
    sizes = {split: len(examples) for split, examples in data.splits.items()}
    assert sizes == {"train": 48, "validation": 6, "test": 6}
    contexts = [{one.texts[1] for one in examples} for examples in data.splits.values()]
    assert sum(map(len, contexts)) == 20
    assert len(set.union(*contexts)) == 20


def test_no_answer_is_one_where_train_has_questions_without(tmp_path: Path) -> None:
    data = read(written(tmp_path, paragraphs(20)), TaskKind.question, split_seed=1)
    assert any(not example.label for example in data.splits["train"])
    assert data.names == [NO_ANSWER]
    answered = paragraphs(20)
    del answered["data"][0]["paragraphs"][0]
    assert read(written(tmp_path, answered), TaskKind.question).names == []


def test_rows_hold_the_same_as_squads_json(tmp_path: Path) -> None:
    whole = read(written(tmp_path, paragraphs(20)), TaskKind.question)
    rows = [
        {
            "id": asked["id"],
            "title": "Cranes",
            "context": paragraph["context"],
            "question": asked["question"],
            "answers": {
                name: [answer[name] for answer in asked["answers"]]
                for name in ("text", "answer_start")
            },
        }
        for paragraph in paragraphs(20)["data"][0]["paragraphs"]
        for asked in paragraph["qas"]
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(file, TaskKind.question).key == whole.key
    table = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    assert read(table, TaskKind.question).key == whole.key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": []}, "has no labelled example"),
        (squad({**ANSWERED, "question": " "}), "question q1: column 'question' is empty: fill it"),
        (squad(ANSWERED, context=""), "question q1: the answer 'crane' does not stand at"),
        (squad(ANSWERED, context=7), "question q1: column 'context' holds int, not text"),
        (squad({**ANSWERED, "answers": []}), "question q1: column 'answers' has no answer: give"),
        (
            squad({**ANSWERED, "answers": [], "is_impossible": True}),
            "no question has an answer; there is nothing to learn",
        ),
        ('{"question": "What?", "context": "A crane."}', "no column of the label by a usual name"),
        ('{"question": "What?", "answers": []}', "no column of the second text by a usual name"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = written(tmp_path, content)
    said = refusal(file, TaskKind.question)
    assert said.startswith(str(file))
    assert message in said


def test_a_pooling_is_refused() -> None:
    with pytest.raises(UserError, match=r"task.pooling=mean makes one vector .* omit it"):
        task_of(TaskKind.question).pooling(Pooling.mean)
