"""Tables: the cells of one column, whatever the others hold; a row is read right or refused."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet
from reading import config_of, documents_of, read, refusal

from bert_lightning.config import Format
from bert_lightning.corpus.readers import json_rows, table_files
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.tables import hub_rows
from bert_lightning.corpus.readers.text_files import table_documents

CASES = Path(__file__).parents[3] / "shared" / "cases"
ONE, TWO = "It rained. We left.", "The crane flew. It was old."
READ = [[["It rained.", "We left."]], [["The crane flew.", "It was old."]]]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


Writer = Callable[[str, str | bytes], Path]


class TestDelimited:
    @pytest.mark.parametrize(
        ("rows", "number", "cells"),
        [
            ([f"1,{ONE}", "2,The crane, an old one, flew."], 3, 4),  # an unquoted comma
            ([f"1,{ONE}", f"2,{TWO}", "3"], 4, 1),  # a cell too few
            ([f'1,"{ONE}\nIt was cold."', "2,a,b"], 3, 3),  # behind a cell of two lines
            ([f"1,{ONE},", f"2,{TWO},"], 2, 3),  # a comma at the end of each row: no index
        ],
    )
    def test_a_row_of_another_width_than_the_header_is_refused_by_its_number(
        self, file: Writer, rows: list[str], number: int, cells: int
    ) -> None:  # BAD_INPUT 39
        path = file("a.csv", "\n".join(["id,text", *rows]))
        message = refusal(path)
        line = number + ("\n" in rows[0])
        assert f"{path}: row {number}, which ends in line {line}, has {cells} cells" in message
        assert "the header has 2: put cells with commas" in message

    def test_the_case_of_the_issue(self) -> None:
        assert "csv-unquoted-comma.csv: row 2" in refusal(CASES / "csv-unquoted-comma.csv")

    @pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.Csv.GZ", "a.tsv"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_quotes_line_ends_and_marks_are_read(self, file: Writer, name: str, end: str) -> None:
        mark = "\t" if "tsv" in name else ","
        rows = [f"n{mark}text", f'"1"{mark}"A ""b"", c.{mark}{end}D e."', f"2{mark}F g. H i."]
        content = ("\ufeff" + end.join(rows) + end).encode()
        path = file(name, gzip.compress(content) if name.endswith("GZ") else content)
        first = 'A "b", c.' + mark * (mark == ",")
        assert documents_of(path) == [[[first], ["D e."]], [["F g.", "H i."]]]

    @pytest.mark.parametrize(
        ("lines", "first"),
        [
            (["n\ttext", '1\t"A b. C d.', "2\tE f. G h."], '"A b.'),  # as in GLUE's files
            (["n\ttext", '1\t"A b." C d.', '2\tE "f." G h.'], '"A b."'),
            (["n\ttext", '1\t"A b. C d."', "2\tE f. G h."], '"A b.'),
            (["n\ttext", '1\t"A ""b"". C d."', "2\tE f. G h."], 'A "b".'),  # as others write it
            (["n\ttext", '1\t"A, b. C d."', "2\tE f. G h."], "A, b."),  # as spreadsheets do
            (["n\ttext", '1\t"A, b. C d."', '2\t"E f." G h.'], '"A, b.'),
            (['"n"\t"text"', '"1"\t"A b. C d."', '"2"\t"E f. G h."'], "A b."),
            (["n\ttext", '1\t"A b. C\td."', "2\tE f. G h."], "A b."),
            (["text", '"A b. C', 'd."', "E f. G h."], "A b."),
        ],
    )
    def test_quotes_of_a_tsv_are_text_where_they_enclose_no_cells(
        self, file: Writer, lines: list[str], first: str
    ) -> None:
        documents = documents_of(file("a.tsv", "\n".join(lines)))
        assert documents[0][0][0] == first
        assert len(documents) == 2

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('text\n"A b. C d.\nE f.\n', "the row after row 1, in line 3: unexpected end of data"),
            ('text,n\n"A b" c.,1\n', "',' expected after '\"'"),
            ("text,text\na,b\n", "has 2 columns 'text'; it has text, text"),
            ("id;text\n1;a\n", "has no column 'text'; it has id;text"),
            (f"{ONE * 20}\n{TWO}\n", f"it has {(ONE * 20)[:40]}: name one"),
            ("text\nA b.\x00 C d.\n", "byte 9 is NUL"),
        ],
    )
    def test_what_would_be_read_wrong_is_refused(
        self, file: Writer, content: str, says: str
    ) -> None:
        path = file("a.csv", content)
        message = refusal(path)
        assert str(path) in message
        assert says in message

    def test_an_unclosed_quote_does_not_swallow_the_file(
        self, file: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(table_files, "LONGEST_CELL", 1000)
        message = refusal(file("a.csv", 'text\n"A b.\n' + "C d.\n" * 10_000))
        assert "field larger than field limit (1000); a cell ends with the quote" in message

    def test_empty_cells_are_counted(self, file: Writer) -> None:
        path = file("a.csv", f'n,text\n1,{ONE}\n2,\n\n3," "\n4,{TWO}\n')
        assert read(path) == (READ, {"rows without a word in 'text'": 2})


class TestJson:
    @pytest.mark.parametrize("name", ["a.json", "a.JSONL", "a.ndjson", "a.txt", "wiki_00"])
    def test_json_lines_are_read_under_any_name(self, file: Writer, name: str) -> None:
        rows = [json.dumps({"id": n, "text": text}) for n, text in enumerate([ONE, TWO])]
        assert documents_of(file(name, "\n\n".join(rows))) == READ  # BAD_INPUT 40

    @pytest.mark.parametrize("indent", [None, 1])
    def test_an_array_of_objects_is_read(self, file: Writer, indent: int | None) -> None:
        content = json.dumps([{"text": ONE}, {"text": TWO}], indent=indent)
        assert documents_of(file("a.json", content)) == READ

    @pytest.mark.parametrize(
        "others",
        [
            [None, "x"],
            [1, "x"],
            [1, [2]],
            [{"a": 1}, {"b": [2]}],
            [True, 0.5],
            [10**30, None],
            ["2020-01-01", "no date"],
        ],
    )
    def test_other_columns_may_change_their_type(self, file: Writer, others: list[Any]) -> None:
        rows = [{"text": ONE, "tag": others[0]}, {"text": TWO, "tag": others[1]}]
        assert documents_of(file("a.jsonl", "\n".join(map(json.dumps, rows)))) == READ

    @pytest.mark.slow
    def test_the_case_of_the_issue(self, tmp_path: Path) -> None:
        row = "It rained. We left the house. " * 35
        with (tmp_path / "a.jsonl").open("w") as file:
            for n in range(14_000):  # above the 10 MB that other readers take at a time
                row_n = {"text": f"Number {n}. {row}", "tag": None if n < 13_000 else "x"}
                file.write(json.dumps(row_n) + "\n")
        assert len(documents_of(tmp_path / "a.jsonl")) == 14_000

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('{"text": "A b."}\n\n{"text": "C\n', "line 3 is not JSON: "),
            ('{"text": "A b."}\n["C d."]\n', "line 2 holds list, not an object"),
            ('["A b.", "C d."]\n', "object 1 holds str, not an object"),
            ('{\n "text": "A b."\n}\n{\n "text": "C d."\n}\n', "the object is not JSON: Extra"),
            ('{"text": "A b.\n", "n": 1}\n', "line 1 is not JSON: "),
            ('[{"text": "A b."},\n', "the array is not JSON: "),
            ('{"title": "a", "body": "b"}\n', "has no column 'text'; it has title, body"),
            ('{"text": [["A b."], "C d."]}\n', "column 'text' holds list, not text"),
            ('{"text": null}\n{"text": 7}\n', "column 'text' holds int, not text"),
            ("[" * 100_000 + "\n", "the array is not JSON: "),
            ('{"n": ' + "9" * 5000 + "}\n", "line 1 is not JSON: "),
        ],
    )
    def test_what_is_no_table_is_refused_by_its_line(
        self, file: Writer, content: str, says: str
    ) -> None:
        path = file("a.jsonl", content)
        message = refusal(path)
        assert str(path) in message
        assert says in message

    def test_an_array_above_the_limit_names_a_command(
        self, file: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(json_rows, "LARGEST_ARRAY", 10)
        content = json.dumps([{"text": ONE}, {"text": TWO}], indent=1)
        assert "jq -c '.[]' FILE.json > FILE.jsonl" in refusal(file("a.json", content))

    def test_a_list_of_texts_is_read_as_its_lines(self, tmp_path: Path, file: Writer) -> None:
        lines = ["春眠不觉晓，处处闻啼鸟。", "夜来风雨声，花落知多少。"]
        rows = [{"text": lines}, {"text": []}, {"text": ONE}]
        expected = [[[line] for line in lines], READ[0]], {"rows without a word in 'text'": 1}
        assert read(file("a.json", json.dumps(rows))) == expected
        path = tmp_path / "a.parquet"
        parquet.write_table(pa.table({"text": pa.array([lines, []])}), path)
        assert documents_of(path) == expected[0][:1]

    def test_cells_without_text_are_counted_by_what_they_hold(self, file: Writer) -> None:
        cells = [ONE, None, "", 7, 8, [["A b."]], "half \ud83d", "nul \0", TWO]
        rows = [json.dumps({"text": cell}) for cell in cells] + ['{"other": 1}']
        assert read(file("a.jsonl", "\n".join(rows))) == (
            READ,
            {
                "rows without a word in 'text'": 3,
                "cells of 'text' that hold int, not text": 2,
                "cells of 'text' that hold list, not text": 1,
                "cells of 'text' with NUL or half a surrogate pair": 2,
            },
        )


class TestParquet:
    @pytest.mark.parametrize(
        "other",
        [
            pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64())),
            pa.array([{"x": 1}, None]),
            pa.array([b"\xff", b""]),
            pa.array([[1], [2, 3]]),
        ],
    )
    @pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), "dictionary"])
    def test_only_the_column_is_read(self, tmp_path: Path, kind: Any, other: Any) -> None:
        texts = pa.array([ONE, TWO])
        texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(kind)
        path = tmp_path / "a[1]=b.Parquet"
        parquet.write_table(pa.table({"other": other, "text": texts}), path)
        assert documents_of(path) == READ

    def test_what_is_no_column_of_text_is_refused(self, tmp_path: Path, file: Writer) -> None:
        path = tmp_path / "a.parquet"
        columns = {"a.b": [ONE], "text": pa.array([[[ONE]]]), "s": pa.array([{"t": ONE}])}
        parquet.write_table(pa.table(columns), path)
        assert documents_of(path, text_column="a.b") == READ[:1]
        assert "column 'text' holds list, not text" in refusal(path)
        assert "column 's' holds dict, not text" in refusal(path, text_column="s")
        assert documents_of(path, text_column="s.t") == READ[:1]
        message = refusal(path, text_column="s.u")
        assert "has no column 's.u'; it has a.b, text, s, s.t: name one" in message
        compressed = file("b.parquet.gz", gzip.compress(path.read_bytes()))
        assert "gunzip" in refusal(compressed)
        twice = pa.Table.from_arrays([pa.array([ONE]), pa.array([TWO])], names=["text", "text"])
        parquet.write_table(twice, path)
        assert "has 2 columns 'text'" in refusal(path)
        message = refusal(file("c.parquet", path.read_bytes()[:-9]))
        assert "c.parquet cannot be read as parquet" in message


class TestDocuments:
    WRAPPED = "The crane\nflew. It\nwas old.\n\nThe river\nis wide. It\nis cold.\n"

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_hard_wrapped_lines_of_a_cell_are_joined(self, file: Writer, end: str) -> None:
        text = json.dumps({"text": self.WRAPPED.replace("\n", end)})
        documents = documents_of(file("a.jsonl", text), hard_wrapped=True, min_sentences=2)
        assert documents == [
            [["The crane flew.", "It was old."], ["The river is wide.", "It is cold."]]
        ]

    def test_so_are_those_of_the_hub(self) -> None:
        table = datasets.Dataset.from_dict({"text": [self.WRAPPED, None, TWO]})
        data, left_out = config_of("unread", hard_wrapped=True), LeftOut()
        texts = hub_rows(table, data, left_out)
        assert list(table_documents(texts, "hub", data, left_out)) == [
            ["The crane flew. It was old.", "The river is wide. It is cold."],
            [TWO],
        ]
        assert [str(found) for found in left_out] == ["1 rows without a word in 'text' (hub)"]

    def test_the_articles_of_wikitext_span_rows(self, tmp_path: Path) -> None:
        rows = [
            *("", " = One = \n", "", " a b . c d . \n", " = = Part = = \n", " e f . g h . \n"),
            *("", " = Two = \n", "", " i j . k l . \n", None),
        ]
        parquet.write_table(pa.table({"text": pa.array(rows)}), tmp_path / "a.parquet")
        found, left_out = read(tmp_path / "a.parquet", format=Format.wikitext)
        assert found == [[["a b", "c d ."], ["e f", "g h ."]], [["i j", "k l ."]]]
        assert left_out == {}

    def test_the_articles_of_the_case(self) -> None:
        path = CASES / "wikitext-rows.parquet"
        assert len(documents_of(path, format=Format.wikitext, min_sentences=2)) == 12

    @pytest.mark.parametrize("name", ["wiki.train.tokens", "a.jsonl"])
    def test_wikitext_that_is_read_as_prose_is_said(
        self, file: Writer, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = " \n = One = \n \n a b . c d . \n"
        path = file(name, json.dumps({"text": text}) if name == "a.jsonl" else text)
        documents_of(path)
        assert f"{path} is WikiText, it seems: data.format=wikitext keeps" in caplog.text
        caplog.clear()
        documents_of(path, format=Format.wikitext)
        documents_of(file("b.txt", "1 = 1 holds.\n\n = One = \n"))
        assert not caplog.text

    def test_the_articles_of_wikiextractor_are_documents(self, file: Writer) -> None:
        path = file(
            "wiki_00",
            '<doc id="1" url="u" title="One">\nOne\n\nA b. C d.\n\nE f. G h.\n</doc>\n'
            '<doc id="2" url="u" title="Two">\nTwo\n\nI j. K l.\n</doc>\n',
        )
        assert documents_of(path, min_sentences=2) == [
            [["A b.", "C d."], ["E f.", "G h."]],
            [["I j.", "K l."]],
        ]
