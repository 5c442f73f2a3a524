"""What is written in any form of file is read back equal, and its columns and splits are found."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from labelled_files import (
    COLORS,
    Rows,
    read,
    write_conll,
    write_csv,
    write_json,
    write_jsonl,
    write_parquet,
    write_plain_tsv,
    write_tsv,
)

from bert_lightning.config.task import LabelledConfig, TaskConfig, TaskKind
from bert_lightning.corpus.readers import tables
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.read import LabelledData, read_labelled

CHARACTERS = st.sampled_from([*"ab1 ,;\t\n'\"#-{}[]\\", "é", "字", "🙂", "\u2028", "\u00a0"])
TEXTS = st.text(CHARACTERS, min_size=1, max_size=12).filter(str.strip)
LABELS = st.text(st.sampled_from("ab\"',é字🙂 "), min_size=1, max_size=4).map(
    lambda text: f"L{text}".strip()
)


def both_files(folder: Path, write: Callable[[Path, Rows], Path], name: str, rows: Rows) -> Path:
    """Writes train with these rows, and two held-out splits, so that train is what was written."""
    for split in ("train", "dev", "test"):
        write(folder / f"{split}{name}", rows if split == "train" else rows[:1])
    return folder


@st.composite
def labelled_rows(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXTS) -> list[tuple[str, str]]:
    rows = draw(st.lists(st.tuples(texts, LABELS), min_size=3, max_size=6))
    return [*rows, ("one", "A"), ("two", "A"), ("three", "B")]


def assert_equal(data: LabelledData, rows: Rows) -> None:
    assert [(one.texts[0], one.label) for one in data.splits["train"]] == list(rows)
    assert data.names == sorted({label for _, label in rows})
    for split in ("validation", "test"):
        assert [(one.texts[0], one.label) for one in data.splits[split]] == list(rows[:1])


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_csv, ".csv"),
        (write_tsv, ".tsv"),
        (write_jsonl, ".jsonl"),
        (write_json, ".json"),
        (write_parquet, ".parquet"),
    ],
)
@given(rows=labelled_rows())
@settings(max_examples=15, deadline=None)
@example(rows=[('"', "A"), ('""', "B"), ('"a', "A"), ("a\nb", "B"), ("a\tb", "A")])
def test_what_is_written_is_read_back(
    write: Callable[[Path, Rows], Path], name: str, rows: list[tuple[str, str]]
) -> None:
    if write is write_tsv:  # a cell of `a⏎b⇥c` looks like two rows whose texts begin with a quote
        assume(not any("\t" in text and "\n" in text for text, _ in rows))
    with TemporaryDirectory() as folder:
        assert_equal(read(both_files(Path(folder), write, name, rows)), rows)


@given(
    rows=labelled_rows(
        st.text(st.sampled_from([*"ab ,;'\"#", "字", "🙂"]), min_size=1, max_size=12)
        .filter(str.strip)
        .filter(lambda text: '""' not in text)
    )
)
@settings(max_examples=25, deadline=None)
@example(rows=[('"quoted"', "A"), ('"unclosed', "B"), ('end"', "A"), ('" "', "B")])
def test_quotes_of_a_tsv_without_quoting_are_text(rows: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        assert_equal(read(both_files(Path(folder), write_plain_tsv, ".tsv", rows)), rows)


WORDS = st.text(st.sampled_from([*"ab1,;'\"#-", "é", "字", "🙂"]), min_size=1, max_size=6)
TAGS = st.sampled_from(["O", "B-x", "I-x", "#"])


@given(
    sentences=st.lists(
        st.lists(st.tuples(WORDS, TAGS), min_size=1, max_size=5), min_size=1, max_size=6
    ),
    separator=st.sampled_from(["\t", " "]),
    form=st.sampled_from(["plain", "middle", "numbered"]),
)
@settings(max_examples=40, deadline=None)
def test_labelled_words_are_read_back(
    sentences: list[list[tuple[str, str]]], separator: str, form: str
) -> None:
    sentences = [[("a", "O"), ("b", "B-x")], *sentences, [("c", "#"), ("d", "I-x")]]
    rows: list[list[tuple[str, ...]]] = [
        [
            {
                "plain": (word, tag),
                "middle": (word, "_", "_", tag),
                "numbered": (str(number), word, tag, "-", "-"),
            }[form]
            for number, (word, tag) in enumerate(sentence, 1)
        ]
        for sentence in sentences
    ]
    with TemporaryDirectory() as folder:
        for split in ("train", "dev", "test"):
            write_conll(Path(folder) / f"{split}.conll", rows, separator)
        data = read(Path(folder), TaskKind.tokens)
    for examples in data.splits.values():
        found = [list(zip(one.texts, one.label, strict=True)) for one in examples]  # type: ignore[arg-type]
        assert found == sentences


def test_comments_documents_and_ranges_are_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "de.conllu"
    one = "# text = Er geht zum #\n1\tEr\ter\tPRON" + "\t_" * 6 + "\n2\tgeht\tgehen\tVERB"
    one += "\t_" * 6 + "\n3-4\tzum" + "\t_" * 8 + "\n3\tzu\tzu\tADP" + "\t_" * 6
    one += "\n4\tdem\tder\tDET" + "\t_" * 6 + "\n4.1\tnichts" + "\t_" * 8 + "\n\n"
    file.write_text(one * 9, encoding="utf-8")
    data = read(file, TaskKind.tokens)
    first = data.splits["train"][0]
    assert first.texts == ("Er", "geht", "zu", "dem")
    assert first.label == ["PRON", "VERB", "ADP", "DET"]
    assert first.place == f"{file}, line 2"
    assert "In train, lines of comments are left out: 9." in data.notes
    assert any(
        "such as 2-3 or 2.1, as in CoNLL-U, are left out: 18." in note for note in data.notes
    )
    assert read(file, TaskKind.tokens, label_column="lemma").splits["train"][0].label == [
        *("er", "gehen", "zu", "der")
    ]


def test_conll_2003_has_documents_and_blanks(tmp_path: Path) -> None:
    file = tmp_path / "eng.train"
    blocks = "-DOCSTART- -X- -X- O\n\n# NN B-NP B-MISC\n1 CD I-NP O\n\nEU NNP B-NP B-ORG\n\n"
    file.write_text(blocks * 6, encoding="utf-8")
    data = read(file, TaskKind.tokens)
    assert sum(map(len, data.splits.values())) == 12
    assert data.names == ["B-MISC", "B-ORG", "O"]
    tags = read(file, TaskKind.tokens, label_column="2")
    assert tags.names == ["CD", "NN", "NNP"]
    named = read(file, TaskKind.tokens, columns=["word", "pos", "chunk", "tag"])
    assert named.names == data.names


def test_comments_between_blanks_are_no_words(tmp_path: Path) -> None:
    file = tmp_path / "train.txt"
    file.write_text("# id 1\tdomain=en\n# _ _ O\na _ _ B\n\n# id 2 x\nb _ _ O\n\n" * 5)
    data = read(file, TaskKind.tokens)
    assert {one.texts for one in data.splits["train"]} == {("#", "a"), ("b",)}


class TestColumns:
    @pytest.mark.parametrize("text", ["text", "sentence", "Sentence1", "question", "premise"])
    @pytest.mark.parametrize("label", ["label", "labels", "category", "Class"])
    def test_usual_names_are_found(self, tmp_path: Path, text: str, label: str) -> None:
        rows = [(n, cells[1], cells[0]) for n, cells in enumerate(COLORS)]
        data = read(write_csv(tmp_path / "a.csv", rows, ("id", label, text)))
        assert data.names == ["blue", "red"]
        assert data.notes[0] == (
            f"In train, the text is column '{text}' and the label is column '{label}', by their "
            "names."
        )

    @pytest.mark.parametrize(
        "names",
        [
            ("text", "text_pair"),
            ("sentence1", "sentence2"),
            ("premise", "hypothesis"),
            ("question1", "question2"),
            ("question", "sentence"),
        ],
    )
    def test_usual_pairs_are_found(self, tmp_path: Path, names: tuple[str, str]) -> None:
        rows = [(text, f"{text}?", label) for text, label in COLORS]
        data = read(write_csv(tmp_path / "a.csv", rows, (*names, "label")), TaskKind.pair)
        assert all(one.texts[1] == f"{one.texts[0]}?" for one in data.splits["train"])

    def test_named_columns_win_and_others_are_said_to_be_unread(self, tmp_path: Path) -> None:
        rows = [(text, "x", label, n % 2) for n, (text, label) in enumerate(COLORS)]
        file = write_csv(tmp_path / "a.csv", rows, ("body", "sentence2", "color", "label"))
        data = read(file, text_column="body", label_column="color")
        assert data.names == ["blue", "red"]
        data = read(file, text_column="body")
        assert data.names == ["0", "1"]
        assert "In train, column 'sentence2' is not read; task=pair reads two texts." in data.notes
        other = write_csv(tmp_path / "b.csv", rows, ("text", "pair", "score", "label"))
        note = "In train, other columns that could be the label are not read: score."
        assert note in read(other).notes
        pairs = read(file, TaskKind.pair, text_column="body", label_column="color")
        assert pairs.splits["train"][0].texts[1] == "x"

    def test_a_number_is_of_one_text_or_of_two(self, tmp_path: Path) -> None:
        rows = [(text, f"{text}?", n / 2) for n, (text, _) in enumerate(COLORS)]
        two = write_csv(tmp_path / "a.csv", rows, ("sentence1", "sentence2", "score"))
        one = write_csv(tmp_path / "b.csv", rows, ("sentence1", "other", "score"))
        assert read(two, TaskKind.number).splits["train"][0].texts == rows[0][:2]
        found = read(one, TaskKind.number)
        assert found.names == []
        assert [len(example.texts) for example in found.splits["train"]] == [1] * 16
        assert found.splits["train"][-1].label == 9.5

    def test_whole_numbers_are_sorted_as_numbers(self, tmp_path: Path) -> None:
        rows = [(f"text {n}", n % 12 - 1) for n in range(60)]
        names = [str(n) for n in range(-1, 11)]
        assert read(write_csv(tmp_path / "a.csv", rows)).names == names
        assert read(write_jsonl(tmp_path / "a.jsonl", rows)).names == names

    def test_a_table_without_a_header(self, tmp_path: Path) -> None:
        rows = [(n, label, text) for n, (text, label) in enumerate(COLORS)]
        file = write_tsv(tmp_path / "all.txt", rows, header=None)
        data = read(file, columns=["id", "label", "text"])
        assert sum(map(len, data.splits.values())) == 20
        assert data.splits["train"][0].place == f"{file}, row 1"

    def test_words_in_a_table_are_lists_or_stand_between_blanks(self, tmp_path: Path) -> None:
        rows = [(["New York", "is"], ["B", "O"])] * 6
        data = read(
            write_jsonl(tmp_path / "a.jsonl", rows, ("tokens", "ner_tags")), TaskKind.tokens
        )
        assert data.splits["train"][0].texts == ("New York", "is")
        lines = [("a b c", "X Y X")] * 6
        data = read(write_csv(tmp_path / "a.csv", lines, ("words", "tags")), TaskKind.tokens)
        assert data.splits["train"][0].label == ["X", "Y", "X"]


class TestFolders:
    def test_a_folder_of_glue_has_a_test_split_without_labels(self, tmp_path: Path) -> None:
        rows = [(f'the " {text}', label) for text, label in COLORS]
        write_plain_tsv(tmp_path / "train.tsv", rows, ("sentence", "label"))
        write_plain_tsv(tmp_path / "dev.tsv", rows[:4], ("sentence", "label"))
        write_plain_tsv(tmp_path / "test.tsv", list(enumerate("abc")), ("index", "sentence"))
        data = read(tmp_path)
        assert {name: len(examples) for name, examples in data.splits.items()} == {
            "train": 18,
            "validation": 4,
            "test": 2,
        }
        file = tmp_path / "test.tsv"
        assert f"Left out: {file}, since its examples have no labels." in data.notes
        assert "Held out of train: 2 examples (0.1 of 20) for test." in data.notes
        assert "4 of the 4 examples of validation have texts that train has as well." in [
            *data.notes
        ]

    def test_cola_has_no_header_but_its_test_split_has(self, tmp_path: Path) -> None:
        rows = [("gj04", n % 2, "*" * (n % 2), text) for n, (text, _) in enumerate(COLORS)]
        for split in ("train", "dev"):
            write_plain_tsv(tmp_path / f"{split}.tsv", rows[1:], rows[0])
        write_plain_tsv(tmp_path / "test.tsv", list(enumerate("abc")), ("index", "sentence"))
        data = read(tmp_path, columns=["source", "label", "star", "sentence"])
        assert data.names == ["0", "1"]
        assert {name: len(examples) for name, examples in data.splits.items()} == {
            "train": 18,
            "validation": 20,
            "test": 2,
        }

    @pytest.mark.parametrize("dev", ["dev", "valid", "validation", "val", "devel"])
    def test_splits_are_found_by_words_of_names(self, tmp_path: Path, dev: str) -> None:
        for name in ("en_color-train", f"en_color-{dev}", "EN_COLOR-TEST"):
            write_csv(tmp_path / f"{name}.csv", COLORS)
        (tmp_path / "README.md").write_text("about")
        data = read(tmp_path)
        assert [len(examples) for examples in data.splits.values()] == [20, 20, 20]
        assert list(data.splits) == ["train", "validation", "test"]
        assert "Not read: README.md." in data.notes

    def test_a_file_beside_is_named_and_not_read(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "train.csv", COLORS)
        test = write_csv(tmp_path / "test.csv", COLORS)
        write_csv(tmp_path / "other-test.csv", COLORS)
        data = read(file)
        assert data.notes[0] == (
            f"Beside train.csv lies test.csv, which is not read: data.test_path={test} reads it."
        )
        assert not any("other" in note for note in data.notes)
        assert len(data.splits["test"]) == 2
        given = read(file, test_path=str(test))
        assert len(given.splits["test"]) == 20
        assert not any("Beside" in note for note in given.notes)

    def test_the_only_file_of_a_folder_is_train(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "reviews.csv", COLORS)
        assert len(read(tmp_path).splits["train"]) == 16


class TestHub:
    LABEL = datasets.ClassLabel(names=["NO", "YES"])

    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        found: dict[str, Any] = {}
        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: None)
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: found)
        return found

    def table(self, feature: Any, **columns: list[Any]) -> Any:
        table = datasets.Dataset.from_dict(columns)
        return table.cast_column(list(columns)[-1], feature)

    def read(self, kind: TaskKind = TaskKind.text) -> LabelledData:
        data = LabelledConfig(hub_repository="who/what", hub_name="part")
        return read_labelled(data, TaskConfig(kind=kind), 0)

    def test_numbers_of_classes_become_their_names(self, hub: dict[str, Any]) -> None:
        labels = [n % 2 for n in range(20)]
        labels[3] = -1
        texts = [f"text {n}" for n in range(20)]
        hub["train"] = self.table(self.LABEL, text=texts, label=labels)
        hub["validation_matched"] = self.table(self.LABEL, text=texts[:4], label=[0, 1, 0, 1])
        hub["validation_mismatched"] = hub["validation_matched"]
        hub["test"] = self.table(self.LABEL, text=texts, label=[-1] * 20)
        data = self.read()
        assert data.names == ["NO", "YES"]
        assert data.splits["train"][0].place == "who/what (part), train, row 1"
        assert {name: len(examples) for name, examples in data.splits.items()} == {
            "train": 17,
            "validation": 4,
            "test": 2,
        }
        assert "In train, examples without a label are left out: 1." in data.notes
        assert "Not read: the splits validation_mismatched of who/what (part)." in data.notes
        assert "Left out: who/what (part), test, since its examples have no labels." in data.notes

    def test_lists_of_words_and_of_numbers_of_tags(self, hub: dict[str, Any]) -> None:
        hub["train"] = self.table(
            datasets.List(self.LABEL), tokens=[["a", "b"]] * 9, ner_tags=[[1, 0]] * 9
        )
        data = self.read(TaskKind.tokens)
        assert data.splits["train"][0].label == ["YES", "NO"]

    def test_a_hub_out_of_reach_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object, **__: object) -> None:
            raise ConnectionError("no route")

        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: None)
        monkeypatch.setattr(datasets, "load_dataset", fails)
        with pytest.raises(UserError, match=r"who/what \(part\) is neither .* data\.path="):
            self.read()
