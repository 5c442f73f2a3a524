"""Minimal pairs: accuracies by group, and the format of the file."""

import json
import re
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bert_lightning
from bert_lightning.errors import UserError
from bert_lightning.evaluation import minimal_pairs
from bert_lightning.evaluation.minimal_pairs import (
    GROUPS,
    Judgment,
    MinimalPair,
    judge,
    pair_files,
    read_pairs,
    summarize,
)
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.pseudo_likelihood import PseudoLikelihood
from bert_lightning.training.fit import FitResult

CapSys = pytest.CaptureFixture[str]
Write = Callable[..., Path]
GOOD, BAD = "The crane sees the river .", "The crane the the sees ."


@pytest.fixture
def bert(run: FitResult) -> PretrainedBert:
    return bert_lightning.load(run.config.run_dir)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def lines(*entries: Any, name: str = "pairs.jsonl") -> Path:
        path = tmp_path / name
        text = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
        return path

    return lines


def pair(good: str, bad: str, **groups: str) -> dict[str, str]:
    return {"sentence_good": good, "sentence_bad": bad, **groups}


def sentences(run: FitResult) -> list[str]:
    """Sentences of the corpus, as the model knows them."""
    split, tokenizer = run.corpus.splits["train"], run.corpus.tokenizer
    starts = split.sentence_starts
    return [
        " ".join(tokenizer.id_to_token(int(i)) for i in split.token_ids[a:b])
        for a, b in pairwise(starts[:41])
    ]


def test_a_pair_is_right_where_the_good_sentence_is_likelier(
    bert: PretrainedBert, run: FitResult
) -> None:
    known = sentences(run)
    pairs = [
        MinimalPair(a, b, {}, "here") for a, b in zip(known, [*known[1:], known[0]], strict=True)
    ]
    judged = judge(bert, pairs)
    totals = [bert.pseudo_log_likelihood(text) for text in known]
    expected = [float(a > b) for a, b in zip(totals, [*totals[1:], totals[0]], strict=True)]
    assert [one.correct for one in judged] == expected
    assert 0 < sum(expected) < len(expected)
    swapped = judge(bert, [one._replace(good=one.bad, bad=one.good) for one in pairs])
    assert [1 - one.correct for one in swapped] == expected


def test_what_is_the_same_to_the_tokenizer_is_half_right(bert: PretrainedBert) -> None:
    pairs = [
        MinimalPair("The crane .", "the  CRANE .", {}, "here"),
        MinimalPair("The xylophone .", "The zeppelin .", {}, "here"),
        MinimalPair("The crane .", "The river .", {}, "here"),
    ]
    judged = judge(bert, pairs)
    assert [(one.correct, one.same) for one in judged[:2]] == [(0.5, True)] * 2
    assert [one.unknown for one in judged] == [False, True, False]
    assert not judged[2].same
    found = summarize("m", pairs, judged).all
    assert (found.same, found.unknown, found.pairs) == (2, 1, 3)
    assert found.known_accuracy == (judged[0].correct + judged[2].correct) / 2
    assert summarize("m", pairs[1:2], judged[1:2]).all.known_accuracy is None


def test_sentences_that_are_as_likely_are_no_success() -> None:
    class Undecided:
        def pseudo_likelihoods(self, texts: list[str], *, truncate: bool) -> list[PseudoLikelihood]:
            assert not truncate
            return [PseudoLikelihood(text.split(), [-1.0, -2.0]) for text in texts]

    bert: Any = Undecided()
    (tie,) = judge(bert, [MinimalPair("It works", "It work", {}, "here")])
    assert tie == Judgment(correct=0.0, same=False, unknown=False)


def test_accuracy_by_what_the_pairs_are_about() -> None:
    groups = [
        {"field": "syntax", "UID": "b"},
        {"field": "syntax", "UID": "a"},
        {"field": "morphology", "UID": "a"},
        {},
    ]
    pairs = [MinimalPair("x", "y", about, "here") for about in groups]
    judged = [Judgment(correct, False, False) for correct in (1.0, 0.0, 1.0, 0.5)]
    found = summarize("m", pairs, judged)
    assert found.all.accuracy == 0.625
    assert found.all.standard_error == pytest.approx((0.625 * 0.375 / 4) ** 0.5)
    shares = {
        name: {value: (one.pairs, one.accuracy) for value, one in members.items()}
        for name, members in found.groups.items()
    }
    assert shares == {
        "field": {"syntax": (2, 0.5), "morphology": (1, 1.0)},
        "UID": {"b": (1, 1.0), "a": (2, 0.5)},
    }
    assert list(shares) == [name for name in GROUPS if name in shares]


def test_blimps_lines_are_read(write: Write) -> None:
    first = pair(GOOD, BAD, field="syntax", linguistics_term="binding", UID="u", pairID="0")
    path = write(first, "", pair("He\u2028left .", "He he ."))
    found = read_pairs(path)
    assert [(one.good, one.bad) for one in found] == [(GOOD, BAD), ("He\u2028left .", "He he .")]
    assert found[0].groups == {"field": "syntax", "linguistics_term": "binding", "UID": "u"}
    assert found[1].groups == {}
    assert found[1].where == f"{path}, line 3"


def test_a_folder_and_a_zip_of_files_are_read_in_the_order_of_their_names(
    write: Write, tmp_path: Path
) -> None:
    for name in ("b", "a"):
        write(pair(name, BAD), name=f"{name}.jsonl")
    (tmp_path / "pairs.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"pairs.zip cannot be read as a .zip: File is not a zip"):
        pair_files(tmp_path / "pairs.zip")
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
        archive.write(tmp_path / "b.jsonl", "data/b.jsonl")
        archive.write(tmp_path / "a.jsonl", "data/a.jsonl")
        archive.writestr("__MACOSX/data/._a.jsonl", b"\x00\xff")
        archive.writestr("data/README", "none")
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped" / "pairs.zip").write_bytes((tmp_path / "pairs.zip").read_bytes())
    for place in (tmp_path, tmp_path / "pairs.zip", tmp_path / "zipped"):
        found = [one for file in pair_files(place) for one in read_pairs(file)]
        assert [one.good for one in found] == ["a", "b"]
        assert re.search(r"a.jsonl, line 1$", found[0].where)
    assert pair_files(tmp_path / "absent.jsonl") == [tmp_path / "absent.jsonl"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no .jsonl file: name one with sentence_good"):
        pair_files(tmp_path / "empty")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([pair(GOOD, BAD), "{sentence_good:"], r"line 2 is not JSON \("),
        (
            ["[1, 2]"],
            "line 1 holds a list, but must be an object with sentence_good and sentence_bad",
        ),
        (
            [{"sentence_good": GOOD, "good": 1}],
            "line 1 has no sentence_bad; its fields are sentence_good, good",
        ),
        (["{}"], "line 1 has no sentence_good; its fields are none"),
        ([{"sentence_good": 3, "sentence_bad": BAD}], "sentence_good is 3, but must be a text"),
        (["", " "], "pairs.jsonl is empty: it needs a JSON object in each line"),
    ],
)
def test_what_is_no_such_file_is_refused(write: Write, lines: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_pairs(write(*lines))


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.jsonl cannot be read: No such file .*directory"):
        read_pairs(tmp_path / "absent.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"é'.encode("latin1"))
    with pytest.raises(UserError, match=r"latin.jsonl is not UTF-8: byte 2 is 0xe9"):
        read_pairs(tmp_path / "latin.jsonl")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("crane " * 40, r"line 3, sentence_bad: the text has 42 tokens .* reads 32"),
        ("", "line 3, sentence_bad: the text is empty"),
        ("The [MASK] .", r"line 3, sentence_bad: the text contains \[MASK\]"),
    ],
)
def test_a_sentence_that_cannot_be_scored_is_named(
    write: Write, bert: PretrainedBert, bad: str, message: str
) -> None:
    pairs = read_pairs(write(pair(GOOD, BAD), pair(GOOD, BAD), pair(GOOD, bad)))
    with pytest.raises(UserError, match=message):
        judge(bert, pairs)


def test_the_good_sentence_is_named_as_well_and_in_any_batch(
    bert: PretrainedBert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minimal_pairs, "_PAIRS_PER_BATCH", 2)
    fine = [MinimalPair(GOOD, BAD, {}, f"line {number}") for number in range(1, 6)]
    for place in range(5):
        pairs = [*fine[:place], fine[place]._replace(good=""), *fine[place + 1 :]]
        with pytest.raises(UserError, match=f"^line {place + 1}, sentence_good: the text is empty"):
            judge(bert, pairs)


def test_pairs_are_judged_alike_in_any_batch(
    bert: PretrainedBert, run: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sentences(run)[:11]
    pairs = [MinimalPair(a, b, {}, "here") for a, b in pairwise([*known, "The xylophone ."])]
    together = judge(bert, pairs)
    monkeypatch.setattr(minimal_pairs, "_PAIRS_PER_BATCH", 3)
    assert judge(bert, pairs) == together
    assert [one.unknown for one in together] == [False] * 10 + [True]
    backwards = judge(bert, [one._replace(good=one.bad, bad=one.good) for one in pairs])
    assert [one.unknown for one in backwards] == [False] * 10 + [True]


def test_a_sentence_that_may_be_cut_is_not_named_in_place_of_a_later_one(
    bert: PretrainedBert,
) -> None:
    long = MinimalPair("crane " * 40, BAD, {}, "line 1")
    with pytest.raises(UserError, match=r"^line 2, sentence_good: the text contains \[MASK\]"):
        judge(bert, [long, MinimalPair("The [MASK] .", BAD, {}, "line 2")], truncate=True)


def test_an_error_of_no_single_sentence_is_shown_as_it_is() -> None:
    class OnlyOne:
        def pseudo_likelihoods(self, texts: list[str], *, truncate: bool) -> None:
            if len(texts) > 1 and not truncate:
                raise UserError("too many at once")

    bert: Any = OnlyOne()
    with pytest.raises(UserError, match=r"^too many at once$"):
        judge(bert, [MinimalPair(GOOD, BAD, {}, "here")])


def test_an_overlong_sentence_is_cut_only_if_it_may_be(bert: PretrainedBert) -> None:
    long = [MinimalPair("crane " * 40, BAD, {}, "here")]
    with pytest.raises(UserError, match=r"here, sentence_good: the text has 42 tokens"):
        judge(bert, long)
    short = [MinimalPair("crane " * 30, BAD, {}, "here")]
    assert judge(bert, long, truncate=True) == judge(bert, short)


def test_the_script_prints_and_writes_accuracies(
    script: Callable[[str], ModuleType], run: FitResult, write: Write, capsys: CapSys
) -> None:
    a = write(pair(GOOD, BAD, UID="one"), pair(BAD, GOOD, UID="two"), name="a.jsonl")
    b = write(pair("A xylophone .", "A zeppelin .", UID="two"), name="b.jsonl")
    script("minimal_pairs").main([run.config.run_dir, str(a), str(b)])
    shown = capsys.readouterr().out
    assert re.search(r"all +50.0% +28.9% +3 +33.3% +50.0%\n", shown)
    assert re.search(r"two +\d+.0% .* 2 +50.0% +\d+.0%\n", shown)
    assert len(re.findall(r"chance +50.0% +50.0%\n", shown)) == 2
    assert "UID" in shown
    assert "Pairs of the same tokens twice, which count as half right: 1." in shown
    script("minimal_pairs").main([run.config.run_dir, str(a), str(b), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["all"] == {
        "pairs": 3,
        "accuracy": 0.5,
        "standard_error": pytest.approx((0.25 / 3) ** 0.5),
        "same": 1,
        "unknown": 1,
        "known_accuracy": 0.5,
    }
    assert found["chance"] == 0.5
    assert set(found["groups"]["UID"]) == {"one", "two"}
    with pytest.raises(SystemExit) as caught:
        script("minimal_pairs").main([run.config.run_dir, "absent.jsonl"])
    assert caught.value.code == 2
    long = write(pair(GOOD, "crane " * 40), name="long.jsonl")
    with pytest.raises(SystemExit):
        script("minimal_pairs").main([run.config.run_dir, str(long)])
    assert "(--truncate in the scripts)" in capsys.readouterr().err
    script("minimal_pairs").main([run.config.run_dir, str(long), "--truncate"])
