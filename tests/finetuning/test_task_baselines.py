"""The baselines predict what their names say, and never look at the labels they are scored on."""

from typing import cast

import numpy as np
import pytest

from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.encoding import EncodedSplit
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.scoring.baselines import TfIdf, constant, label_of_word
from bert_lightning.finetuning.scoring.metrics import Scores, is_degenerate
from bert_lightning.finetuning.tasks.kinds import task_of


def words(text: str) -> LabelledExample:
    return LabelledExample(tuple(text.split()), [], "here")


def task_scores(
    predicted: np.ndarray,
    labels: np.ndarray,
    kind: TaskKind,
    names: list[str],
    examples: list[LabelledExample],
) -> Scores:
    task = task_of(kind)
    return task.scores(predicted, labels, names, task.sizes(examples))


def test_a_constant_is_the_commonest_class_or_the_mean() -> None:
    assert constant(np.array([0, 2, 2, 1]), 3).tolist() == [2, 2, 2]
    assert constant(np.array([1.0, 2.0], np.float32), 2).tolist() == [1.5, 1.5]
    assert is_degenerate(constant(np.array([0, 2, 2, 1]), 3))


def test_a_word_has_its_commonest_label_and_an_unseen_one_that_of_all() -> None:
    train = [words("run run run a"), words("a a")]
    labels = np.array([1, 1, 0, 2, 2, 2])
    assert label_of_word(train, labels, [words("a run new")]).tolist() == [2, 1, 2]


def test_the_scores_of_each_kind_begin_with_the_main_one() -> None:
    text, not_read = [LabelledExample(("x",), "a", "here")] * 4, cast(EncodedSplit, None)
    outputs = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 4.0]])
    predicted = task_of(TaskKind.text).predict(outputs, not_read)
    assert predicted.tolist() == [0, 1, 0, 0]
    scores = task_scores(predicted, np.array([0, 1, 1, 0]), TaskKind.text, ["a", "b"], text)
    assert next(iter(scores)) == "accuracy"
    assert scores["accuracy"] == 0.75
    predicted = task_of(TaskKind.number).predict(np.array([[0.5], [1.5], [3.0]]), not_read)
    scores = task_scores(predicted, np.array([1.0, 2.0, 9.0]), TaskKind.number, [], text)
    assert next(iter(scores)) == "spearman"
    assert scores["spearman"] == pytest.approx(1)


def test_words_are_grouped_into_entities_by_their_sentences() -> None:
    """An entity ends with its sentence: `B-x` and `I-x` across the border are two."""
    names = ["B-x", "I-x", "O"]
    examples = [words("one two"), words("three")]
    labels = np.array([2, 0, 1])
    scores = task_scores(labels, labels, TaskKind.tokens, names, examples)
    assert next(iter(scores)) == "entity_f1"
    assert scores["entity_f1"] == scores["accuracy"] == 1
    joined = np.array([2, 0, 0])
    assert task_scores(joined, labels, TaskKind.tokens, names, examples)["entity_f1"] == 1
    tags = task_scores(labels, labels, TaskKind.tokens, ["ADJ", "NOUN", "VERB"], examples)
    assert next(iter(tags)) == "accuracy"


def test_sentence_vectors_have_the_cosine_of_tf_idf_beside_them() -> None:
    pytest.importorskip("sklearn")

    def pairs(*texts: tuple[str, str]) -> list[LabelledExample]:
        return [LabelledExample(two, 1.0, "here") for two in texts]

    splits = {
        "train": pairs(("a b", "a b"), ("c d", "e")),
        "test": pairs(("a b", "a c"), ("c", "d e"), ("a b c", "a b c")),
    }
    found = task_of(TaskKind.sentence).baselines(splits, {}, str.split)["TF-IDF"]
    assert 0 < found[0] < 1
    assert found[1:] == pytest.approx([0, 1])


def test_tf_idf_learns_words_and_pairs() -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(30)]

    def text(word: str) -> str:
        return " ".join([word, *generator.choice(vocabulary, size=4)])

    labels = np.arange(200) % 2
    one = [LabelledExample((text("good" if label else "bad"),), "", "here") for label in labels]
    halves = (one[:100], labels[:100]), (one[100:], labels[100:])
    assert (TfIdf(str.split).fit(*halves).predict(one[100:]) == labels[100:]).all()

    texts = [text("same") for _ in labels]
    two = [
        LabelledExample((here, here if label else text("other")), "", "here")
        for here, label in zip(texts, labels, strict=True)
    ]
    halves = (two[:100], labels[:100]), (two[100:], labels[100:])
    predicted = TfIdf(str.split).fit(*halves).predict(two[100:])
    assert (predicted == labels[100:]).mean() > 0.9
    values = labels.astype(np.float32)
    numbers = (two[:100], values[:100]), (two[100:], values[100:])
    ridge = TfIdf(str.split).fit(*numbers).predict(two[100:])
    assert np.corrcoef(ridge, values[100:])[0, 1] > 0.8
