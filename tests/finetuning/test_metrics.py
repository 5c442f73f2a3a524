"""Every metric equals a plain count of what its name says, and sklearn's, scipy's or seqeval's."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_lightning.finetuning.scoring import metrics
from bert_lightning.finetuning.scoring.entities import Entity, entities, is_bio

CLASSES = 4
Labelings = tuple[np.ndarray, np.ndarray]


@st.composite
def labelings(draw: st.DrawFn) -> Labelings:
    size = draw(st.integers(1, 30))
    values = st.lists(st.integers(0, CLASSES - 1), min_size=size, max_size=size)
    return np.array(draw(values)), np.array(draw(values))


@st.composite
def numbers(draw: st.DrawFn) -> Labelings:
    size = draw(st.integers(2, 20))
    values = st.lists(st.integers(-3, 3).map(lambda n: n / 2), min_size=size, max_size=size)
    return np.array(draw(values)), np.array(draw(values))


def plain_f1(predicted: list[int], labels: list[int], one: int) -> float:
    hits = sum(p == t == one for p, t in zip(predicted, labels, strict=True))
    if not hits:
        return 0.0
    precision, recall = hits / predicted.count(one), hits / labels.count(one)
    return 2 * precision * recall / (precision + recall)


@given(labelings())
def test_scores_of_classes_are_what_a_plain_count_gives(both: Labelings) -> None:
    predicted, labels = (values.tolist() for values in both)
    found = metrics.class_scores(*both, CLASSES)
    same = sum(p == t for p, t in zip(predicted, labels, strict=True))
    assert found["accuracy"] == pytest.approx(same / len(labels))
    present = {*predicted, *labels}
    by_class = [plain_f1(predicted, labels, one) for one in sorted(present)]
    assert found["macro_f1"] == pytest.approx(sum(by_class) / len(by_class))
    assert "f1" not in found


def test_two_classes_have_the_f1_of_the_second() -> None:
    predicted, labels = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1])
    assert metrics.class_scores(predicted, labels, 2)["f1"] == pytest.approx(2 / 3)


@given(labelings())
def test_matthews_is_the_correlation_of_one_hot_labels(both: Labelings) -> None:
    predicted, labels = (np.eye(CLASSES)[values] for values in both)
    x, y = (rows - rows.mean(0) for rows in (predicted, labels))
    scale = math.sqrt((x * x).sum() * (y * y).sum())
    expected = (x * y).sum() / scale if scale > 1e-12 else 0.0
    assert metrics.matthews(*both, CLASSES) == pytest.approx(expected, abs=1e-9)


def test_a_confusion_has_a_row_for_each_label() -> None:
    table = metrics.confusion(np.array([1, 1, 2]), np.array([0, 1, 0]), 3)
    assert table.tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 0]]


@given(numbers())
def test_correlations_are_those_of_pairs(both: Labelings) -> None:
    """Σ over pairs of (xᵢ - xⱼ)(yᵢ - yⱼ) is the covariance, times the square of the count."""

    def plain(x: np.ndarray, y: np.ndarray) -> float:
        def sum_over_pairs(a: np.ndarray, b: np.ndarray) -> float:
            pairs = combinations(range(len(a)), 2)
            return float(sum((a[i] - a[j]) * (b[i] - b[j]) for i, j in pairs))

        scale = math.sqrt(sum_over_pairs(x, x) * sum_over_pairs(y, y))
        return sum_over_pairs(x, y) / scale if scale else 0.0

    def ranks(values: np.ndarray) -> np.ndarray:
        return np.array([(sum(values < v) + sum(values <= v) - 1) / 2 for v in values])

    found = metrics.number_scores(*both)
    assert found["pearson"] == pytest.approx(plain(*both), abs=1e-9)
    assert found["spearman"] == pytest.approx(plain(*map(ranks, both)), abs=1e-9)
    assert found["rmse"] == pytest.approx(math.dist(*both) / math.sqrt(len(both[0])))


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(deadline=None, max_examples=25)
@given(labelings(), numbers())
def test_they_are_those_of_the_libraries(classes: Labelings, values: Labelings) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    stats = pytest.importorskip("scipy.stats")
    predicted, labels = classes
    found = metrics.class_scores(predicted, labels, CLASSES)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted))
    f1 = sklearn.f1_score(labels, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1)
    assert found["matthews"] == pytest.approx(
        sklearn.matthews_corrcoef(labels, predicted), abs=1e-9
    )
    if all(np.ptp(each) for each in values):
        found = metrics.number_scores(*values)
        assert found["pearson"] == pytest.approx(stats.pearsonr(*values).statistic, abs=1e-9)
        assert found["spearman"] == pytest.approx(stats.spearmanr(*values).statistic, abs=1e-9)


NAMES = st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O", []),
        ("B-a I-a O", [("a", 0, 2)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("I-a I-a", [("a", 0, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),
        ("O I-b I-a B-a", [("b", 1, 2), ("a", 2, 3), ("a", 3, 4)]),
        ("B-geo-loc I-geo-loc", [("geo-loc", 0, 2)]),
        ("", []),
    ],
)
def test_entities(labels: str, expected: list[tuple[str, int, int]]) -> None:
    assert entities(labels.split()) == [Entity(*one) for one in expected]


def test_what_marks_entities() -> None:
    assert is_bio(["O", "B-x"])
    assert not is_bio(["O"])
    assert not is_bio(["B-", "O"])
    assert not is_bio(["NOUN", "B-x"])


@given(
    st.lists(
        st.integers(0, 8).flatmap(
            lambda size: st.tuples(
                *[st.lists(NAMES, min_size=size, max_size=size) for _ in range(2)]
            )
        ),
        min_size=1,
        max_size=5,
    )
)
def test_entity_scores_are_those_of_seqeval(both: list[tuple[list[str], list[str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    predicted, labels = ([pair[side] for pair in both] for side in (0, 1))
    found = metrics.entity_scores(predicted, labels)
    functions: dict[str, Callable[..., float]] = {
        "entity_f1": seqeval.f1_score,
        "entity_precision": seqeval.precision_score,
        "entity_recall": seqeval.recall_score,
    }
    for name, function in functions.items():
        expected = function(labels, predicted, zero_division=0)
        assert found[name] == pytest.approx(expected), name
