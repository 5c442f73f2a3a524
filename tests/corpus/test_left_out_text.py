"""What is left out of a text is counted and said, with the option that keeps it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.config import CorpusConfig, CorpusSource, Format, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers.left_out import LEFT_OUT, Omission
from bert_lightning.corpus.store import PreparedCorpus

WORDS = TokenizerConfig(min_frequency=1)
KEPT = "It rained all day. Nobody went out.\n"
LOST = "A single sentence here.\n"
WIKITEXT = (
    " = Crane =\n\n It rained . It was wet .\n One sentence\n It ended .\n"
    " = River =\n\n = = Name = =\n It is . So it was .\n"
)


def prepared(folder: Path, text: str, name: str = "text.txt", **options: Any) -> PreparedCorpus:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    config: dict[str, Any] = {
        "source": CorpusSource.text,
        "path": str(folder / name),
        "format": Format.prose,
        "cache_dir": str(folder / "cache"),
        "validation_fraction": 0.0,
        "test_fraction": 0.0,
    }
    return prepare(CorpusConfig(**{**config, **options}), WORDS, PairsConfig())


def left_out(corpus: PreparedCorpus) -> list[Omission]:
    return [omission for omission in corpus.left_out if omission.fate == LEFT_OUT]


def paragraphs(corpus: PreparedCorpus) -> Omission:
    (omission,) = left_out(corpus)
    return omission


def test_paragraphs_of_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (KEPT + "\n") * 6 + LOST * 6
    with caplog.at_level(logging.INFO):
        found = paragraphs(prepared(tmp_path / "a", text))
    assert (found.count, found.of) == (6, 12)
    kept, lost = len(KEPT.strip()), len(LOST.strip())
    assert found.fraction == pytest.approx(lost / (kept + lost))
    (said,) = [entry for entry in caplog.records if "Left out" in entry.message]
    assert said.levelno == logging.WARNING
    assert said.message == (
        "Left out: 6 paragraphs of fewer than 2 sentences (of 12; 39.7% of the text); "
        "pairs=document, segment and none keep them (data.min_sentences=1); for text with hard "
        "line breaks: data.hard_wrapped=true."
    )


def test_a_prepared_corpus_says_it_again(tmp_path: Path) -> None:
    text = (KEPT + "\n") * 6 + LOST
    assert prepared(tmp_path / "a", text).left_out == prepared(tmp_path / "a", text).left_out != []


@pytest.mark.parametrize(("lost", "level"), [(1, logging.INFO), (4, logging.WARNING)])
def test_a_little_is_no_warning(
    lost: int, level: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        prepared(tmp_path / "a", (KEPT + "\n") * 9 + LOST * lost)
    (said,) = [entry for entry in caplog.records if "Left out" in entry.message]
    assert said.levelno == level


def test_with_one_sentence_enough_nothing_is_left_out(tmp_path: Path) -> None:
    text = (KEPT + "\n") * 6 + LOST + " \n\n \t \n" + LOST
    assert left_out(prepared(tmp_path / "a", text, min_sentences=1)) == []


def test_three_sentences_wanted(tmp_path: Path) -> None:
    text = (KEPT.strip() + " It stopped.\n" + KEPT + "\n") * 6 + LOST
    found = paragraphs(prepared(tmp_path / "a", text, min_sentences=3))
    assert (found.what, found.count, found.of) == (
        *("paragraphs of fewer than 3 sentences", 7),
        13,
    )


def test_rows_of_a_table(tmp_path: Path) -> None:
    rows = [KEPT, KEPT + LOST, LOST] * 4
    text = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    found = paragraphs(prepared(tmp_path / "a", text, "rows.jsonl"))
    assert (found.count, found.of) == (8, 16)


def test_splits_that_are_given_add_up(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"wiki.{split}.tokens").write_text(WIKITEXT, encoding="utf-8")
    data = CorpusConfig(path=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    found = paragraphs(prepare(data, WORDS, PairsConfig()))
    # The line of one sentence has no " . " before its end; headings are no paragraphs
    assert (found.count, found.of) == (6, 12)
    assert found.way_out == "pairs=document, segment and none keep them (data.min_sentences=1)"


def test_thai_which_marks_no_sentences(tmp_path: Path) -> None:
    """Without a mark that ends a sentence a paragraph is one sentence, and that is said."""
    text = (KEPT + "\n") * 2 + "แม่น้ำอยู่ใกล้โรงเรียน เด็กไปโรงเรียน\n" * 20
    found = paragraphs(prepared(tmp_path / "a", text))
    assert (found.count, found.of) == (20, 22)
