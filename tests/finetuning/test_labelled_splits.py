"""Splits follow from the examples and the seed alone, and smaller training sets lie in larger."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_files import COLORS, read, write_conll, write_csv, write_jsonl

from bert_lightning.config.task import LabelledConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.examples import Label, LabelledExample, classes_of
from bert_lightning.finetuning.labelled.splits import draw_training, duplicates, hold_out

FRACTIONS = {"test": 0.1, "validation": 0.2}


def examples_of(labels: list[Any]) -> list[LabelledExample]:
    return [LabelledExample((f"text {n}",), label, f"row {n}") for n, label in enumerate(labels)]


def classes(examples: list[LabelledExample]) -> Counter[str]:
    return Counter(label for example in examples for label in set(classes_of(example)))


TAGS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4)


@given(
    labels=st.lists(st.sampled_from("aaabc"), min_size=12, max_size=60)
    | st.lists(st.floats(0, 5), min_size=12, max_size=60)
    | st.lists(TAGS, min_size=30, max_size=60),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_each_example_is_held_out_or_trained_on_once(labels: list[Label], seed: int) -> None:
    examples = examples_of(labels)
    try:
        splits, notes = hold_out(examples, FRACTIONS, seed, "here")
    except UserError:  # so few examples of so many classes that none can be spared
        assert isinstance(labels[0], list)
        return
    everything = [one for split in splits.values() for one in split]
    assert sorted(one.texts for one in everything) == sorted(one.texts for one in examples)
    for split in splits.values():
        assert split == sorted(split, key=examples.index)
    assert set(classes(splits["train"])) == set(classes(examples))
    for split, fraction in FRACTIONS.items():
        wanted = max(1, round(fraction * len(examples)))
        assert len(splits[split]) <= wanted
        if not isinstance(labels[0], list):
            spare = len(examples) - len(set(labels) if isinstance(labels[0], str) else [0])
            assert len(splits[split]) == wanted or spare < sum(map(len, splits.values()))
    assert len(notes) == 2
    assert hold_out(examples, FRACTIONS, seed, "there")[0] == splits


def test_another_seed_holds_out_other_examples() -> None:
    examples = examples_of(["a", "b"] * 50)
    held_out = [hold_out(examples, FRACTIONS, seed, "")[0]["test"] for seed in range(20)]
    assert len({tuple(one.texts for one in some) for some in held_out}) == 20
    taken = Counter(one.texts for some in held_out for one in some)
    assert max(taken.values()) < 9  # of 20, each example with probability 0.1


def test_a_class_of_one_example_stays_in_train() -> None:
    examples = examples_of(["a"] * 50 + ["b"])
    for seed in range(30):
        assert classes(hold_out(examples, {"test": 0.9}, seed, "")[0]["train"])["b"] == 1


@pytest.mark.parametrize("kind", [TaskKind.text, TaskKind.number, TaskKind.tokens])
def test_a_smaller_training_set_is_part_of_a_larger(kind: TaskKind) -> None:
    labels: dict[TaskKind, list[Any]] = {
        TaskKind.text: ["a", "b"] * 30,
        TaskKind.number: [n / 4 for n in range(60)],
        TaskKind.tokens: [["a", "b"]] * 60,
    }
    examples = examples_of(labels[kind])
    sets = [
        draw_training(examples, LabelledConfig(train_examples=size), kind, 3)[0]
        for size in (2, 5, 20, 59, 60)
    ]
    assert [len(drawn) for drawn in sets] == [2, 5, 20, 59, 60]
    for smaller, larger in pairwise(sets):
        assert set(map(id, smaller)) < set(map(id, larger))
    assert sets[-1] == examples
    other, _ = draw_training(examples, LabelledConfig(train_examples=20), kind, 4)
    assert other != sets[2]


def test_few_shot_takes_as_many_of_each_class_and_nests() -> None:
    examples = examples_of(["a"] * 40 + ["b"] * 5 + ["c"] * 2)
    sets = []
    for number in (1, 2, 4, 8):
        data = LabelledConfig(examples_per_class=number)
        drawn, notes = draw_training(examples, data, TaskKind.text, 0)
        assert classes(drawn) == {"a": number, "b": min(5, number), "c": min(2, number)}
        sets.append(set(map(id, drawn)))
    assert sets[0] < sets[1] < sets[2] < sets[3]
    assert notes == [
        "Drawn: 15 of 47 training examples, 8 of a class.",
        "2 of 3 classes have fewer: b, c.",
    ]


def test_a_class_without_a_drawn_example_is_said_and_keeps_its_number(tmp_path: Path) -> None:
    rows = [*COLORS * 5, *((f"green {n}", "green") for n in range(3))]
    file = write_csv(tmp_path / "a.csv", rows)
    data = read(file, train_examples=3)
    assert data.names == ["blue", "green", "red"]
    assert "1 of the 3 classes have no example among the drawn." in data.notes


def test_duplicates_are_counted() -> None:
    examples = examples_of(["a", "b"] * 5)
    splits = {"train": examples, "validation": examples[:3], "test": examples_of(["c"])[:0]}
    assert duplicates(splits) == [
        "3 of the 3 examples of validation have texts that train has as well."
    ]


class TestKey:
    def test_it_depends_on_the_examples_and_neither_on_place_nor_form(self, tmp_path: Path) -> None:
        one = read(write_csv(tmp_path / "a.csv", COLORS))
        other = read(write_jsonl(tmp_path / "b.jsonl", COLORS, ("sentence", "class")))
        assert one.key == other.key
        assert one.identity["columns"] == {"train": ["text", "label"]}
        assert other.identity["columns"] == {"train": ["sentence", "class"]}
        assert one.identity["splits"] == other.identity["splits"]
        assert str(tmp_path) not in str(one.identity)

    def test_it_changes_with_each_of_them(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        changed = [*COLORS[:-1], ("another text", COLORS[-1][1])]
        relabelled = [*COLORS[:-1], (COLORS[-1][0], "red")]
        keys = {
            read(file).key,
            read(file, seed=1).key,
            read(file, validation_fraction=0.2).key,
            read(file, train_examples=8).key,
            read(write_csv(tmp_path / "b.csv", changed)).key,
            read(write_csv(tmp_path / "c.csv", relabelled)).key,
            read(write_csv(tmp_path / "d.csv", COLORS[::-1])).key,
        }
        assert len(keys) == 7

    def test_given_splits_do_not_depend_on_the_seed(self, tmp_path: Path) -> None:
        for split in ("train", "dev", "test"):
            write_csv(tmp_path / f"{split}.csv", COLORS)
        assert read(tmp_path).key == read(tmp_path, seed=1).key

    def test_words_and_their_labels_count(self, tmp_path: Path) -> None:
        one = write_conll(tmp_path / "a.conll", [[("a", "X"), ("b", "Y")]] * 6)
        other = write_conll(tmp_path / "b.conll", [[("a", "X"), ("b", "Y")], [("a", "Y")]] * 3)
        keys = [read(file, TaskKind.tokens).key for file in (one, other)]
        assert len(set(keys)) == 2


DATASETS = Path(__file__).parents[3] / "shared" / "datasets"


@pytest.mark.skipif(not DATASETS.is_dir(), reason="needs the data sets of ../shared/datasets")
class TestRealData:
    def sizes(self, path: str, kind: TaskKind, **options: Any) -> dict[str, int]:
        data = read(DATASETS / path, kind, **options)
        return {split: len(examples) for split, examples in data.splits.items()}

    def test_banking77(self) -> None:
        data = read(DATASETS / "banking77")
        assert len(data.names) == 77
        assert len(data.splits["test"]) == 3_080
        assert len(data.splits["train"]) + len(data.splits["validation"]) == 10_003

    @pytest.mark.parametrize("language", ["en", "zh"])
    def test_stsb(self, language: str) -> None:
        files = {
            f"{split}_path": str(DATASETS / "stsb" / f"stsb-{language}-{short}.csv")
            for split, short in (("validation", "dev"), ("test", "test"))
        }
        names = ["text", "text_pair", "score"]
        sizes = self.sizes(
            f"stsb/stsb-{language}-train.csv", TaskKind.number, columns=names, **files
        )
        assert sizes == {"train": 5_749, "validation": 1_500, "test": 1_379}

    @pytest.mark.parametrize(
        ("name", "rows"),
        [("movieReviewSnippets", 10_605), ("amazonReviewSnippets", 3_708), ("tweets", 4_200)],
    )
    def test_vader(self, name: str, rows: int) -> None:
        file = f"vader/{name}_GroundTruth.txt"
        sizes = self.sizes(file, TaskKind.number, columns=["id", "rating", "text"])
        assert sum(sizes.values()) == rows

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "sizes", "classes"),
        [
            ("wnut17", (3_394, 1_009, 1_287), 13),
            ("ud-ewt", (12_544, 2_001, 2_077), 17),
            ("uner-zh", (3_997, 500, 500), 7),
        ],
    )
    def test_words(self, name: str, sizes: tuple[int, ...], classes: int) -> None:
        data = read(DATASETS / name, TaskKind.tokens)
        assert tuple(map(len, data.splits.values())) == sizes
        assert len(data.names) == classes
