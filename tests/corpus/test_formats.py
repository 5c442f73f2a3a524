"""The formats that people have: compressed files, lists in JSON, nested and joined columns."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from reading import config_of, documents_of, read, refusal

from bert_lightning.config.corpus import DocumentUnit
from bert_lightning.corpus.readers import find_files
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.storage.compression import _CHUNK, _Zstd
from bert_lightning.corpus.readers.tables import hub_rows

ONE, TWO = "It rained. We left.", "The crane flew. It was old."
READ = [[["It rained.", "We left."]], [["The crane flew.", "It was old."]]]
TEXT = f"{ONE}\n\n{TWO}\n"


def zstd(content: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(content))


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
KINDS = {
    "a.txt": TEXT,
    "a.CSV": f"n,text\n1,{ONE}\n2,{TWO}\n",
    "a.tsv": f"n\ttext\n1\t{ONE}\n2\t{TWO}\n",
    "a.jsonl": "\n".join(json.dumps({"text": text}) for text in (ONE, TWO)),
    "a.json": json.dumps({"data": [{"text": ONE}, {"text": TWO}]}, indent=1),
    "wiki_00": f'<doc id="1">\n{ONE}\n</doc>\n<doc id="2">\n{TWO}\n</doc>\n',
    "wiki_01": "\n".join(json.dumps({"id": "1", "text": text}) for text in (ONE, TWO)),
}


class TestCompression:
    @pytest.mark.parametrize("ending", PACK)
    @pytest.mark.parametrize("name", KINDS)
    def test_every_kind_is_read_from_every_archive(
        self, tmp_path: Path, name: str, ending: str
    ) -> None:
        (tmp_path / f"{name}{ending}").write_bytes(PACK[ending](KINDS[name].encode()))
        assert documents_of(tmp_path) == READ

    @pytest.mark.parametrize("ending", PACK)
    def test_parts_after_each_other_are_one_text(self, tmp_path: Path, ending: str) -> None:
        parts = [PACK[ending](part.encode()) for part in (f"{ONE}\n\n", TWO)]
        (tmp_path / f"a.txt{ending}").write_bytes(b"".join(parts))
        assert documents_of(tmp_path) == READ

    @pytest.mark.parametrize("ending", PACK)
    @pytest.mark.parametrize("kept", [0.1, 0.5, -1])
    def test_a_truncated_archive_is_refused(self, tmp_path: Path, ending: str, kept: float) -> None:
        text = "\n".join(f"Number {n * n} is {hash(n)}." for n in range(3000))
        packed = PACK[ending](text.encode())
        end = int(kept) if kept < 0 else int(len(packed) * kept)
        (tmp_path / f"a.txt{ending}").write_bytes(packed[:end])
        message = refusal(tmp_path)
        assert f"a.txt{ending} cannot be decompressed: " in message
        assert message.endswith("; compress or download it again")

    @pytest.mark.parametrize("ending", PACK)
    def test_an_empty_archive_is_a_file_without_a_word(self, tmp_path: Path, ending: str) -> None:
        (tmp_path / "a.txt").write_text(TEXT)
        (tmp_path / f"b.txt{ending}").write_bytes(b"")
        (tmp_path / f"c.txt{ending}").write_bytes(PACK[ending](b""))
        found = read(tmp_path, document=DocumentUnit.blank_line)
        assert found == (READ, {"files without a word": 2})

    @pytest.mark.parametrize("ending", PACK)
    def test_an_archive_with_another_name_is_told_the_right_one(
        self, tmp_path: Path, ending: str
    ) -> None:
        file = tmp_path / f"a.txt{ending}"
        file.write_text(TEXT)
        assert f"is not compressed, and its name ends with {ending}: " in refusal(file)
        assert f"mv {file} {tmp_path}/a.txt" in refusal(file)
        other = next(name for name in PACK if name != ending)
        file.write_bytes(PACK[other](TEXT.encode()))
        assert refusal(file).endswith(f"mv {file} {tmp_path}/a.txt{other}")

    @pytest.mark.parametrize("ending", PACK)
    def test_another_encoding_in_an_archive_is_told_by_its_byte(
        self, tmp_path: Path, ending: str
    ) -> None:
        file = tmp_path / f"a.txt{ending}"
        file.write_bytes(PACK[ending]("Grüße. Bis bald.".encode("latin-1")))
        message = refusal(file)
        assert "is not UTF-8: byte 2 is 0xfc" in message
        assert f"{file} && iconv" in message

    def test_parquet_must_be_decompressed(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet.zst").write_bytes(zstd(b"PAR1"))
        assert "must be decompressed first: unzstd" in refusal(tmp_path)

    def test_without_zstandard_the_package_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.txt.zst").write_bytes(zstd(TEXT.encode()))
        monkeypatch.setitem(sys.modules, "zstandard", None)
        assert "pip install 'bert-lightning[zstd]'" in refusal(tmp_path)

    @given(st.lists(st.binary(max_size=200), max_size=4), st.integers(1, 300))
    @settings(max_examples=30, deadline=None)
    def test_frames_of_zstd_are_read_in_any_pieces(self, parts: list[bytes], size: int) -> None:
        stream = io.BufferedReader(_Zstd(io.BytesIO(b"".join(map(zstd, parts)))), size)
        assert stream.read() == b"".join(parts)

    def test_what_is_larger_than_a_chunk_is_read(self) -> None:
        content = b"".join(b"%d " % (n * n) for n in range(100_000))
        packed = zstd(content) * 2
        assert len(packed) > _CHUNK
        assert io.BufferedReader(_Zstd(io.BytesIO(packed))).read() == content * 2


class TestJson:
    @pytest.mark.parametrize("indent", [None, 1])
    @pytest.mark.parametrize("name", ["a.json", "a.jsonl", "rows"])
    def test_the_one_list_of_an_object_is_its_rows(
        self, tmp_path: Path, name: str, indent: int | None
    ) -> None:
        rows: dict[str, Any] = {"data": [{"text": ONE}, {"text": TWO}], "tags": ["a"]}
        (tmp_path / name).write_text(json.dumps(rows, indent=indent))
        assert documents_of(tmp_path) == READ
        (tmp_path / "b.json").write_text(json.dumps({"version": "1"} | rows, indent=indent))
        assert documents_of(tmp_path / "b.json") == READ

    def test_an_object_with_the_column_is_a_row(self, tmp_path: Path) -> None:
        row = {"text": ONE, "links": [{"text": "a"}]}
        for indent in (None, 1):
            (tmp_path / "a.json").write_text(json.dumps(row, indent=indent))
            assert documents_of(tmp_path / "a.json") == READ[:1]

    def test_lists_in_lists_are_refused_with_the_command(self, tmp_path: Path) -> None:
        questions = [{"question": "Who?", "answers": []}]
        paragraphs = [{"context": ONE, "qas": questions}]
        file = tmp_path / "train.json"
        file.write_text(json.dumps({"data": [{"title": "a", "paragraphs": paragraphs}]}))
        assert "has no column 'text'; it has title, paragraphs: name" in refusal(file)
        message = refusal(file, text_column="context")
        assert "jq -c '.data[].paragraphs[]' FILE.json > FILE.jsonl" in message
        assert "jq -c '.data[].paragraphs[].qas[]'" in refusal(file, text_column="question")
        rows = [{"title": "a", "parts of it": [{"text": ONE}]}] * 2
        file.write_text("\n".join(map(json.dumps, rows)))
        assert "jq -c '.\"parts of it\"[]'" in refusal(file)
        file.write_text(json.dumps(rows))
        assert "jq -c '.[].\"parts of it\"[]'" in refusal(file)

    def test_several_lists_are_refused_by_name(self, tmp_path: Path) -> None:
        file = tmp_path / "a.json"
        file.write_text(json.dumps({"train": [{"text": ONE}], "test": [{"text": TWO}]}))
        message = refusal(file)
        assert "one object with 2 lists of objects, train, test: " in message
        assert "jq -c '.train[]' FILE.json > FILE.jsonl" in message

    def test_settings_in_a_folder_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text(TEXT)
        content = {"version": "1.0", "padding": None, "added_tokens": [{"id": 0}]}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content, indent=1))
        assert read(tmp_path) == (READ, {"files of other kinds": 1})


ROWS: list[dict[str, Any]] = [
    {"title": "One.", "a": {"body": ONE, "n": 1}, "plus": 1},
    {"title": None, "a": {"body": TWO, "n": 2}, "plus": 2},
    {"title": " ", "a": None, "plus": 3},
    {"title": "Four.", "a": {"body": "", "n": None}, "plus": 4},
]
JOINED = [[["One."], ["It rained.", "We left."]], [["The crane flew.", "It was old."]], [["Four."]]]
EMPTY = {"rows without a word in 'title+a.body'": 1}


class TestColumns:
    def write(self, folder: Path, form: str) -> Path:
        file = folder / f"a.{form}"
        if form == "parquet":
            parquet.write_table(pa.Table.from_pylist(ROWS), file)
        else:
            file.write_text("\n".join(map(json.dumps, ROWS)))
        return file

    @pytest.mark.parametrize("form", ["jsonl", "parquet"])
    def test_nested_columns_are_read(self, tmp_path: Path, form: str) -> None:
        found = read(self.write(tmp_path, form), text_column="a.body")
        assert found == (READ, {"rows without a word in 'a.body'": 2})

    @pytest.mark.parametrize("form", ["jsonl", "parquet"])
    def test_joined_columns_are_paragraphs_of_one_document(self, tmp_path: Path, form: str) -> None:
        file = self.write(tmp_path, form)
        assert read(file, text_column="title+a.body") == (JOINED, EMPTY)
        wrapped = documents_of(file, text_column="title+a.body", hard_wrapped=True)
        assert wrapped == JOINED

    def test_so_are_those_of_the_hub(self) -> None:
        table = datasets.Dataset.from_list(ROWS)
        data, left_out = config_of("unread", text_column="title+a.body"), LeftOut()
        expected = [f"One.\n\n{ONE}", TWO, "", "Four."]
        assert list(hub_rows(table, data, left_out)) == expected
        assert list(hub_rows(table.to_iterable_dataset(), data, left_out)) == expected

    @pytest.mark.parametrize("form", ["jsonl", "parquet"])
    def test_each_of_them_must_be_there_and_hold_text(self, tmp_path: Path, form: str) -> None:
        file = self.write(tmp_path, form)
        message = refusal(file, text_column="title+a.text")
        assert "has no column 'a.text'; it has title, a, a.body, a.n, plus" in message
        assert "column 'plus' holds int, not text" in refusal(file, text_column="title+plus")
        assert "has no column ''" in refusal(file, text_column="title+")

    def test_a_cell_without_text_does_not_take_the_row_with_it(self, tmp_path: Path) -> None:
        rows = [{"a": "A b.", "b": "C d."}, {"a": "E f.", "b": 7}, {"a": 8, "b": 9}]
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert read(tmp_path, text_column="a+b") == (
            [[["A b."], ["C d."]], [["E f."]]],
            {"cells of 'b' that hold int, not text": 2, "cells of 'a' that hold int, not text": 1},
        )


class TestWithoutEnding:
    def test_wikiextractors_folders_are_read_and_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "AA").mkdir()
        (tmp_path / "AA" / "wiki_00").write_text(KINDS["wiki_00"])
        (tmp_path / "AA" / "notes").write_text(TEXT)
        (tmp_path / "AA" / "binary").write_bytes(bytes(range(256)))
        (tmp_path / "AA" / "latin").write_bytes("Grüße".encode("latin-1"))
        documents, left_out = read(tmp_path, document=DocumentUnit.blank_line)
        assert documents == READ * 2
        assert left_out == {"files without an ending that hold no UTF-8 text": 2}
        said = (
            f"first bytes say: 2 files without an ending ({tmp_path}/AA/notes, {tmp_path}/AA/wiki"
        )
        assert said in caplog.text
        assert f"1 files that begin as wikiextractor does ({tmp_path}/AA/wiki_00)" in caplog.text

    def test_files_can_be_pickled(self, tmp_path: Path) -> None:
        (tmp_path / "notes").write_text(TEXT)
        files = find_files.find_text_files(config_of(tmp_path), LeftOut())
        assert pickle.loads(pickle.dumps(files)) == files
