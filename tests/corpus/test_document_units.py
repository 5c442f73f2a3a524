"""What a document is follows from the files, unless `data.document` says it; either is said."""

from pathlib import Path
from typing import Any

import pytest
from reading import config_of, documents_of, refusal

from bert_lightning.config import DocumentUnit, Format
from bert_lightning.corpus.readers import text_files
from bert_lightning.corpus.sources import find_source
from bert_lightning.errors import UserError

TEXT = "A b. C d.\n\nE f.\nG h. I j.\n"
PARAGRAPHS = [["A b.", "C d."], ["E f."], ["G h.", "I j."]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def said(path: Path, min_documents: int = 1, **options: Any) -> list[str]:
    source = find_source(config_of(path, **options), min_documents)
    return [f"{one.fate}: {one}" for one in source.unread_files]


def test_each_of_several_files_is_a_document(folder: Path) -> None:
    assert documents_of(folder) == [PARAGRAPHS] * 3
    assert documents_of(folder / "*.txt") == [PARAGRAPHS] * 3
    (remark,) = said(folder)
    assert remark == (
        "Documents: 3 text files, each of which is one; "
        "data.document=blank_line ends documents at blank lines"
    )


def test_blank_lines_end_the_documents_of_one_file(folder: Path) -> None:
    assert documents_of(folder / "a.txt") == [PARAGRAPHS[:1], PARAGRAPHS[1:]]
    assert "data.document=file makes each file one" in said(folder / "a.txt")[0]


def test_too_few_files_are_divided_and_it_is_said(folder: Path) -> None:
    options = {"validation_fraction": 0.1, "test_fraction": 0.1}
    (remark,) = said(folder, 2, **options)
    assert "blank lines end them; data.document=file needs 6 files, for the splits" in remark
    assert "each of which is one" in said(folder, 1, **options)[0]


@pytest.mark.parametrize(
    ("unit", "documents"),
    [
        (DocumentUnit.file, [PARAGRAPHS] * 3),
        (DocumentUnit.blank_line, [PARAGRAPHS[:1], PARAGRAPHS[1:]] * 3),
    ],
)
def test_what_the_option_says(unit: DocumentUnit, documents: Any, folder: Path) -> None:
    assert documents_of(folder, document=unit) == documents
    assert said(folder, document=unit) == []


def test_rows_stay_documents_beside_files(folder: Path) -> None:
    (folder / "d.csv").write_text("text\nK l.\nM n.\n", encoding="utf-8")
    assert documents_of(folder)[3:] == [[["K l."]], [["M n."]]]
    assert "Documents: 1 tables, each row of which is one" in said(folder)
    assert documents_of(folder / "d.csv", document=DocumentUnit.row) == [[["K l."]], [["M n."]]]


def test_a_file_ends_where_no_book_is_longer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST_DOCUMENT", 12)
    assert documents_of(folder / "a.txt", document=DocumentUnit.file) == [
        PARAGRAPHS[:2],
        PARAGRAPHS[2:],
    ]


@pytest.mark.parametrize("unit", DocumentUnit)
@pytest.mark.parametrize("text_format", Format)
def test_headings_are_those_of_wikitext(unit: DocumentUnit, text_format: Format) -> None:
    if (unit is DocumentUnit.heading) is (text_format is Format.wikitext):
        config_of("notes", document=unit, format=text_format)
    else:
        with pytest.raises(UserError, match="does not go with"):
            config_of("notes", document=unit, format=text_format)


def test_units_that_the_files_have_not(folder: Path) -> None:
    assert "which has no rows: use file or blank_line" in refusal(folder, document=DocumentUnit.row)
    (folder / "d.csv").write_text("text\nK l.\n", encoding="utf-8")
    assert "none of the 1 files" in refusal(folder / "d.csv", document=DocumentUnit.file)
