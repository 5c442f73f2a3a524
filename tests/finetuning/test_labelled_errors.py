"""What is wrong with labelled data is one message with the file, the row, the column, a way out."""

from pathlib import Path
from typing import Any

import pytest
from labelled_files import (
    COLORS,
    Rows,
    read,
    refusal,
    write_conll,
    write_csv,
    write_json,
    write_jsonl,
    write_parquet,
    write_plain_tsv,
    write_tsv,
)

from bert_lightning.config.task import LabelledConfig, TaskConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.read import read_labelled

WORDS = [[("a", "X"), ("b", "Y")]] * 6


def scored(rows: Rows) -> Rows:
    return [(f"text {n}", n) for n in range(9)] + list(rows)


class TestColumns:
    def test_a_label_column_that_is_not_there(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS, ("text", "colour"))
        assert refusal(file) == (
            f"{file} has no column of the label by a usual name (label, labels, category, class, "
            "score, rating); it has text, colour: task.label_column=… names it"
        )
        assert refusal(file, label_column="color") == (
            f"task.label_column=color: {file} has no column 'color'; it has text, colour; "
            "did you mean 'colour'?"
        )

    @pytest.mark.parametrize(
        "write", [write_csv, write_tsv, write_jsonl, write_json, write_parquet]
    )
    def test_a_text_column_that_is_not_there(self, tmp_path: Path, write: Any) -> None:
        names = {write_csv: "a.csv", write_tsv: "a.tsv", write_parquet: "a.parquet"}
        file = write(tmp_path / names.get(write, "a.json"), COLORS, ("body", "label"))
        message = refusal(file)
        assert message.startswith(f"{file} has no column of the text by a usual name")
        assert "it has body, label: task.text_column=… names it" in message

    def test_validation_without_the_column(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", COLORS)
        dev = write_csv(tmp_path / "dev.csv", COLORS, ("text", "other"))
        assert refusal(tmp_path).startswith(f"{dev} has no column of the label")

    def test_a_column_that_is_there_twice(self, tmp_path: Path) -> None:
        rows = [(*row, row[0]) for row in COLORS]
        file = write_csv(tmp_path / "a.csv", rows, ("text", "label", "text"))
        assert refusal(file) == (
            f"{file} has 2 columns 'text'; it has text, label, text: name one with "
            "task.text_column=…"
        )

    def test_a_pair_without_a_second_text(self, tmp_path: Path) -> None:
        message = refusal(write_csv(tmp_path / "a.csv", COLORS), TaskKind.pair)
        assert "has no column of the second text by a usual name (text_pair, sentence2" in message
        assert "it has text, label: task.pair_column=… names it, and task=text reads" in message

    def test_both_texts_from_one_column(self, tmp_path: Path) -> None:
        rows = [(text, text, label) for text, label in COLORS]
        file = write_csv(tmp_path / "a.csv", rows, ("sentence1", "sentence2", "label"))
        message = refusal(file, TaskKind.pair, text_column="label", pair_column="label")
        assert message.startswith("task.text_column and task.pair_column are both label")
        assert refusal(file, TaskKind.pair).startswith(
            f"{file}: the columns sentence1 and sentence2 hold the same text in every row"
        )

    def test_a_label_from_the_column_of_the_text(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        message = refusal(file, text_column="label")
        assert f"task.label_column=label: the same column of {file} is read as text" in message

    @pytest.mark.parametrize("kind", [TaskKind.text, TaskKind.tokens])
    def test_a_second_text_for_a_task_of_one(self, tmp_path: Path, kind: TaskKind) -> None:
        message = refusal(write_csv(tmp_path / "a.csv", COLORS), kind, pair_column="label")
        assert f"task.pair_column=label with task={kind.value}, which reads one text" in message

    def test_a_header_that_is_not_there(self, tmp_path: Path) -> None:
        pairs = [(f"A man plays {n}.", f"A man plays, {n}.", n / 4) for n in range(9)]
        file = write_csv(tmp_path / "a.csv", pairs, header=None)
        assert refusal(file, TaskKind.number) == (
            f"{file} seems to have no header, as its first row is A man plays 0., A man plays, 0., "
            "0.0: data.columns=[…] names its 3 columns in their order, perhaps "
            "data.columns=[text,text_pair,label]"
        )
        rated = [(n, n / 4, f"A text about {n}.") for n in range(9)]
        message = refusal(write_tsv(tmp_path / "b.txt", rated, header=None), TaskKind.number)
        assert message.endswith("perhaps data.columns=[other1,label,text]")

    def test_names_of_columns_that_do_not_fit(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        assert refusal(file, columns=["text", "label"]).endswith(
            f"the first row of {file} is these names: omit data.columns"
        )
        assert refusal(file, columns=["id", "text", "label"]) == (
            f"data.columns=[id,text,label] names 3 columns, and {file} has 2 in its first row: "
            "text, label"
        )
        json = write_jsonl(tmp_path / "a.jsonl", COLORS)
        assert f"{json} names its own: text, label; omit" in refusal(json, columns=["a", "b"])
        words = write_conll(tmp_path / "a.conll", WORDS)
        assert refusal(words, TaskKind.tokens, columns=["word"]) == (
            f"data.columns=[word] names 1 columns, and {words} has 2"
        )


class TestCells:
    @pytest.mark.parametrize("text", ["", "  ", "\t\n"])
    def test_an_empty_text(self, tmp_path: Path, text: str) -> None:
        rows = [*COLORS[:3], (text, "red"), (text, "red"), *COLORS[3:]]
        file = write_csv(tmp_path / "a.csv", rows)
        assert refusal(file) == (
            f"{file}, row 5: column 'text' is empty (the first of 2 empty cells): fill it in, or "
            "take the row out"
        )

    def test_an_empty_second_text_of_json(self, tmp_path: Path) -> None:
        rows = [*((text, text + "?", label) for text, label in COLORS), ("a", None, "red")]
        file = write_jsonl(tmp_path / "a.jsonl", rows, ("text", "text_pair", "label"))
        message = refusal(file, TaskKind.pair)
        assert message.startswith(f"{file}, line 21: column 'text_pair' is empty: fill it in")

    def test_a_text_that_is_none(self, tmp_path: Path) -> None:
        file = write_json(tmp_path / "a.json", [*COLORS, (3, "red")])
        assert f"{file}, object 21: column 'text' holds int, not text" in refusal(file)
        half = write_jsonl(tmp_path / "b.jsonl", [*COLORS, ("\ud83d", "red")])
        assert f"{half}, line 21: column 'text' holds NUL or half a surrogate" in refusal(half)

    @pytest.mark.parametrize("label", ["", " ", None])
    def test_an_empty_label(self, tmp_path: Path, label: str | None) -> None:
        file = write_csv(tmp_path / "a.csv", [*COLORS, ("text", label)])
        assert refusal(file) == (
            f"{file}, row 22: the label in column 'label' is empty: fill it in, or take the row out"
        )

    def test_a_list_of_labels_for_one_text(self, tmp_path: Path) -> None:
        file = write_jsonl(tmp_path / "a.jsonl", [*COLORS, ("a", ["x"])])
        assert "line 21: the label in column 'label' holds list, not one class" in refusal(file)

    @pytest.mark.parametrize("label", ["high", "4,5", "nan", "inf", "", "1e999", "1_0", None])
    def test_a_label_that_is_no_number(self, tmp_path: Path, label: str | None) -> None:
        file = write_jsonl(tmp_path / "a.jsonl", scored([("a", label)]))
        message = refusal(file, TaskKind.number)
        assert message.startswith(
            f"{file}, line 10: the label '{label}' in column 'label' is not a finite number"
        )
        assert "task.label_column=…, or use task=text" in message

    def test_a_whole_number_beyond_all_floats(self, tmp_path: Path) -> None:
        file = write_jsonl(tmp_path / "a.jsonl", scored([("a", 10**400)]))
        assert "is not a finite number" in refusal(file, TaskKind.number)

    def test_true_is_no_number(self, tmp_path: Path) -> None:
        file = write_jsonl(tmp_path / "a.jsonl", scored([("a", True)]))
        assert "the label 'True'" in refusal(file, TaskKind.number)

    def test_words_and_labels_of_different_counts(self, tmp_path: Path) -> None:
        rows = [(["a", "b"], ["X", "Y"])] * 6 + [(["a", "b", "c"], ["X", "Y"])]
        file = write_jsonl(tmp_path / "a.jsonl", rows, ("tokens", "tags"))
        assert refusal(file, TaskKind.tokens) == (
            f"{file}, line 7: 3 words in column 'tokens' and 2 labels in column 'tags': each word "
            "needs one label"
        )

    def test_a_word_without_a_label(self, tmp_path: Path) -> None:
        file = write_conll(tmp_path / "a.conll", [*WORDS, [("a", "X"), ("b",)]])
        assert refusal(file, TaskKind.tokens) == (
            f"{file}, line 20: 'b' has 1 columns, and 13 lines have 2: each line needs a word and "
            "its label, and a blank line ends a sentence"
        )
        gap = write_conll(tmp_path / "b.conll", [*WORDS, [("a", "X"), ("b", "")]])
        assert "line 19: the label in column '2' is empty" in refusal(gap, TaskKind.tokens)

    def test_an_empty_word(self, tmp_path: Path) -> None:
        rows = [(["a", "b"], ["X", "Y"])] * 6 + [(["a", " "], ["X", "Y"])]
        file = write_jsonl(tmp_path / "a.jsonl", rows, ("tokens", "tags"))
        message = refusal(file, TaskKind.tokens)
        assert message.startswith(f"{file}, line 7: word 2 in column 'tokens' is empty")

    def test_no_words_at_all(self, tmp_path: Path) -> None:
        file = write_jsonl(tmp_path / "a.jsonl", [([], [])], ("tokens", "tags"))
        assert f"{file}, line 1: column 'tokens' is empty" in refusal(file, TaskKind.tokens)

    def test_a_number_in_place_of_words(self, tmp_path: Path) -> None:
        file = write_jsonl(tmp_path / "a.jsonl", [(1, ["X"])], ("tokens", "tags"))
        assert "column 'tokens' holds int, not a list" in refusal(file, TaskKind.tokens)


class TestClasses:
    def test_one_class(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", [(text, "red") for text, _ in COLORS])
        assert refusal(file) == (
            f"{file}: every label is 'red'; a task needs two classes or more: task.label_column=… "
            "names another column"
        )
        words = write_conll(tmp_path / "a.conll", [[("a", "O")]] * 6)
        assert f"{words}: every label is 'O'" in refusal(words, TaskKind.tokens)

    def test_one_number(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", [(text, 2.5) for text, _ in COLORS])
        assert refusal(file, TaskKind.number).startswith(f"{file}: every label is 2.5; there is")

    def test_a_class_for_each_example(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", [(f"text {n}", n / 8) for n in range(20)])
        assert refusal(file) == (
            f"{file} has 20 examples, each of a class of its own: use task=number if its labels "
            "are numbers, or name another column with task.label_column=…"
        )

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_a_class_that_train_lacks(self, tmp_path: Path, split: str) -> None:
        write_csv(tmp_path / "train.csv", COLORS)
        more = [("A", "green"), ("B", "pink"), ("C", "green")]
        file = write_csv(tmp_path / f"{split}.csv", [*COLORS, *more])
        assert refusal(tmp_path) == (
            f"{file}, row 22: the {split} split has 2 classes that train lacks: 'green' (2), "
            "'pink' (1); train has blue, red: add examples of them to train, or take them out"
        )

    def test_a_label_of_a_word_that_train_lacks(self, tmp_path: Path) -> None:
        write_conll(tmp_path / "train.conll", WORDS)
        file = write_conll(tmp_path / "dev.conll", [*WORDS, [("a", "X"), ("b", "Z")]])
        message = refusal(tmp_path, TaskKind.tokens)
        assert message.startswith(f"{file}, line 19: the validation split has 1 classes that")

    def test_too_few_to_hold_out(self, tmp_path: Path) -> None:
        rows = [("a", "red"), ("b", "red"), ("c", "blue")]
        file = write_csv(tmp_path / "a.csv", rows)
        assert f"{file}: 3 examples are too few to hold out" in refusal(file)
        assert "data.validation_path=…" in refusal(file)


class TestDrawing:
    def test_more_examples_than_there_are(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        assert refusal(file, train_examples=17) == (
            "data.train_examples=17 is more than the 16 examples of the train split: give fewer, "
            "or omit it to train on all"
        )

    def test_fewer_examples_than_classes(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        assert refusal(file, train_examples=1) == (
            "data.train_examples=1 is fewer than the 2 classes: give more, or draw "
            "data.examples_per_class=1"
        )

    @pytest.mark.parametrize("kind", [TaskKind.number, TaskKind.tokens])
    def test_examples_of_each_class_where_there_is_none(
        self, tmp_path: Path, kind: TaskKind
    ) -> None:
        if kind is TaskKind.number:
            file = write_csv(tmp_path / "a.csv", scored([]))
        else:
            file = write_conll(tmp_path / "a.conll", WORDS)
        message = refusal(file, kind, examples_per_class=2)
        assert message.startswith(f"data.examples_per_class=2 with task={kind.value}, where an")


class TestFiles:
    def test_nothing_is_named(self) -> None:
        with pytest.raises(UserError, match=r"data\.path names no labelled examples"):
            read_labelled(LabelledConfig(), TaskConfig(), 0)

    def test_files_and_the_hub_at_once(self) -> None:
        with pytest.raises(UserError, match="both say where the examples are"):
            LabelledConfig(path="a.csv", hub_repository="a/b")

    @pytest.mark.parametrize("name", ["validation_path", "test_path", "columns"])
    def test_options_of_files_with_the_hub(self, name: str) -> None:
        value: Any = ["text", "label"] if name == "columns" else "dev.csv"
        with pytest.raises(UserError, match=f"data.{name} belongs to files"):
            LabelledConfig(hub_repository="a/b", **{name: value})

    @pytest.mark.parametrize("name", ["absent.csv", " "])
    def test_a_file_that_is_not_there(self, tmp_path: Path, name: str) -> None:
        message = refusal(tmp_path / name if name.strip() else Path(name))
        assert "does not exist (the working directory is" in message
        assert "data.hub_repository=…" in message

    def test_held_out_splits_are_files(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        assert "is a folder" in refusal(file, validation_path=str(tmp_path))
        assert "data.test_path=absent: " in refusal(file, test_path="absent")

    def test_one_file_for_two_splits(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", COLORS)
        message = refusal(file, validation_path=str(file))
        assert message.startswith(f"{file} is both the train split and the validation split")

    def test_several_files_that_could_be_train(self, tmp_path: Path) -> None:
        for name in ("en-train.csv", "zh-train.csv", "train.md"):
            write_csv(tmp_path / name, COLORS)
        assert refusal(tmp_path) == (
            f"data.path={tmp_path}: several files of {tmp_path} could be the train split: "
            "en-train.csv, zh-train.csv; data.path=FILE names one"
        )

    def test_several_files_that_could_be_validation(self, tmp_path: Path) -> None:
        for name in ("train.csv", "dev_matched.csv", "dev_mismatched.csv"):
            write_csv(tmp_path / name, COLORS)
        message = refusal(tmp_path)
        assert "could be the validation split: dev_matched.csv, dev_mismatched.csv" in message
        assert "data.validation_path=FILE names one" in message
        given = read(tmp_path, validation_path=str(tmp_path / "dev_matched.csv"))
        assert len(given.splits["validation"]) == 20

    def test_no_file_that_could_be_train(self, tmp_path: Path) -> None:
        assert "it has no file: data.path=FILE names one" in refusal(tmp_path)
        for name in ("a.csv", "b.csv"):
            write_csv(tmp_path / name, COLORS)
        message = refusal(tmp_path)
        assert f"no file of {tmp_path} is named train, as train.csv is; it has a.csv, b.csv" in (
            message
        )

    @pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.conll"])
    def test_an_empty_file(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        file.write_text("\n\n")
        kind = TaskKind.tokens if name == "a.conll" else TaskKind.text
        assert refusal(file, kind).startswith(f"{file} is empty")

    @pytest.mark.parametrize("split", ["train", "dev"])
    def test_a_header_without_rows(self, tmp_path: Path, split: str) -> None:
        write_csv(tmp_path / "train.csv", COLORS)
        file = write_csv(tmp_path / f"{split}.csv", [])
        assert refusal(tmp_path).startswith(f"{file} has no labelled example")

    def test_words_for_a_task_of_texts(self, tmp_path: Path) -> None:
        file = write_conll(tmp_path / "a.conll", WORDS)
        assert "use task=tokens" in refusal(file)

    def test_prose_for_a_task_of_texts(self, tmp_path: Path) -> None:
        file = tmp_path / "a.txt"
        file.write_text("Once upon a time.\n")
        assert refusal(file).startswith(f"{file} is no table, as its first line has no tab")

    def test_a_row_of_too_many_cells(self, tmp_path: Path) -> None:
        file = write_csv(tmp_path / "a.csv", [*COLORS, ("a", "b", "red")])
        assert f"{file}: row 22, which ends in line 22, has 3 cells" in refusal(file)

    def test_a_plain_tsv_with_a_row_too_short(self, tmp_path: Path) -> None:
        file = write_plain_tsv(tmp_path / "a.tsv", [*COLORS, ("a",)])
        assert f"{file}: row 22, which ends in line 22, has 1 cells" in refusal(file)
