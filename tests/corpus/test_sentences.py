"""Where sentences end, and that no character goes missing on the way."""

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.corpus import sentences
from bert_lightning.corpus.sentences import (
    SPLITTERS,
    find_splitter,
    split_lines,
    split_prose,
    split_wikitext,
    splitter_version,
)
from bert_lightning.errors import UserError


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        (" a b . c d . e f . \n", ["a b", "c d", "e f ."]),
        ("one sentence .", ["one sentence ."]),
        ("St. Louis , Mo. is large . It is .", ["St. Louis , Mo. is large", "It is ."]),
        ("why ? because ! 3.5 . 4", ["why ? because ! 3.5", "4"]),
        ("a .  . b", ["a", "b"]),
        (" . a . . . b", [". a", ".", "b"]),
        ("a .\tb", ["a .\tb"]),
        ("", []),
        ("  \n", []),
    ],
)
def test_wikitext_splits_at_the_delimiter_alone(paragraph: str, sentences: list[str]) -> None:
    assert split_wikitext(paragraph) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained.", "We stayed in!", "Did they?", "Well…", "Yes."],
        ['"Stop!"', 'She said, "Go."', "(He went.)", "[She did not.]", "Then he came back."],
        ["He asked “Why?”", "“Because.”", "‘So be it.’", "«Oui.»", "¿Qué?", "¡Nada!"],
        ['"Who is it?" he asked.', "Nobody knew."],
        ["Er sagte: „Komm.“", "Dann ging er."],
        ["It ended.", "1999 was over.", "“New” was the word."],
        ["Wait... what?", "Nothing..."],
        ["Really?!", "Really..."],
        ["Это дом.", "Он стар."],
        ["집에 갔다.", "뭐.", "그는 잤다."],
        [["Plan B.", " worked."][0], "It worked."],
    ],
)
def test_prose_is_split_where_sentences_end(sentences: list[str]) -> None:
    assert split_prose(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentence",
    [
        "Mr. Jones and Mrs. Jones met Dr. House, Prof. Moriarty and St. Nicholas.",
        "Birds, e.g. Cranes, i.e. Grus, vs. Storks (cf. Smith) are in Fig. 3 and Fig. A.",
        "Symphony No. 5 is on pp. 12 and 13, as Devlin et al. (2019) say.",
        "J. K. Rowling, J.R.R. Tolkien and J.-P. Sartre met George W. Bush.",
        "The U.S. Army and the U.K. Parliament met on Dec. 25 at 5 p.m. sharp.",
        "It is 3.14 or .5 or 1.000.000 in version 3.11.7 of example.com.",
        "Apples, pears, etc. are fruit. but this goes on? yes! it does.",
        "1. First item.",
        "(e.g. Python) works.",
        'See "x.y" and a.b() and f(…) here.',
    ],
)
def test_prose_is_not_split_within_a_sentence(sentence: str) -> None:
    assert split_prose(sentence) == [sentence]


@pytest.mark.parametrize(
    "sentences",
    [
        ["He said no.", "No. 5 was his."],
        ["He said No.", "Then he left."],
        ["They live in the U.S.", "The army is large."],
        ["Apples, etc.", "Pears too."],
        ["It opens at 8 a.m.", "Come early."],
        ["1. First.", "2. Second."],
        ["It sat in the art.", "Nobody saw."],
        ["It is 3.", "14 is more."],
        ["Ask them (e.g. Tom.)", "Then go."],
        ["He signed as “J.”", "Nobody knew."],
        ["I asked the Mr .", "Nobody spoke ."],
    ],
)
def test_abbreviations_that_are_words_or_ends_after_all(sentences: list[str]) -> None:
    assert split_prose(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["今天下雨。", "我们没出门！", "为什么？", "不知道……真的不知道。"],
        ["他说：“你好。”", "她没回答。", "“真的吗？”", "他问。"],
        ["他走了。", "“再见！”", "她说。"],
        ["雨が降った。", "外に出なかった！", "なぜ？", "わからない。"],
        ["彼は「行こう。」と言った。", "『はい。』って答えた。", "「行くぞ。」", "二人は出た。"],
        ["（終わり。）", "次の話。"],
        ["本当！？", "うそ。"],
    ],
)
def test_full_width_marks_need_no_space(sentences: list[str]) -> None:
    assert split_prose("".join(sentences)) == sentences
    assert split_prose("\u3000".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["नदी के पास घर था।", "किसी ने नहीं देखा॥", "कल बारिश हुई।"],  # Hindi
        ["كيف حالك؟", "أنا بخير.", "شكرا."],  # Arabic
        ["یہ گھر ہے۔", "وہ بڑا ہے؟", "ہاں۔"],  # Urdu
        ["Սա տուն է։", "Նա մեծ է։"],  # Armenian
        ["ቤት ነው።", "ትልቅ ነው፧", "አዎ።"],  # Amharic
        ["នេះជាផ្ទះ។", "វាធំ។"],  # Khmer
        ["ဒါက အိမ်ပါ။", "ကြီးတယ်။"],  # Burmese
        ["ეს სახლია.", "ის დიდია!"],  # Georgian, whose letters Python takes for lowercase
        ["Really⸮", "Yes‽", "Good."],
    ],
)
def test_sentences_of_other_scripts_end(sentences: list[str]) -> None:
    assert split_prose(" ".join(sentences)) == sentences


@pytest.mark.parametrize("text", ["円周率は３．１４です．", "３．１４"])
def test_a_full_width_point_within_a_number_ends_nothing(text: str) -> None:
    assert split_prose(text) == [text]


@pytest.mark.slow
def test_every_terminal_mark_of_unicode_may_end_a_sentence() -> None:
    regex = pytest.importorskip("regex")
    marks = [mark for mark in map(chr, range(sys.maxunicode)) if regex.match(r"\p{STerm}", mark)]
    assert len(marks) > 150
    for mark in marks:
        assert split_prose(f"One word{mark} Two words{mark}") == [
            f"One word{mark}",
            f"Two words{mark}",
        ], f"U+{ord(mark):04X}"


def test_white_space_becomes_one_space() -> None:
    assert split_prose("  It\trained.\n\nWe  stayed\u00a0in. ") == ["It rained.", "We stayed in."]
    assert split_prose(" \n") == []


_PIECES = st.lists(
    st.sampled_from(
        [
            *"AbI1 \n.!?…।؟۔。！？｡．３\"'”“」』)(と、-*",
            "Mr",
            "e.g",
            "U.S",
            "No",
            "The",
            "3.14",
            "\u3000",
        ]
    )
)
_SENTENCE_LIKE = st.one_of(_PIECES.map("".join), _PIECES.map(" ".join))


@given(st.one_of(st.text(), _SENTENCE_LIKE))
def test_no_character_is_lost_or_added(text: str) -> None:
    sentences = split_prose(text)
    assert "".join(" ".join(sentences).split()) == "".join(text.split())
    for sentence in sentences:
        assert sentence
        assert sentence == " ".join(sentence.split())


@given(st.one_of(st.text(), _SENTENCE_LIKE))
def test_breaks_lie_after_a_mark(text: str) -> None:
    for sentence in split_prose(text)[:-1]:
        mark = sentence.rstrip("\"'”’“»›)]}」』】〉》〕）］｝")[-1]
        assert sentences._END.fullmatch(mark)


@given(st.one_of(st.text(), _SENTENCE_LIKE))
def test_wikitext_sentences_rejoin(text: str) -> None:
    sentences = split_wikitext(text)
    assert "".join(" ".join(sentences).replace(".", "").split()) == "".join(
        text.replace(".", "").split()
    )
    assert all(" . " not in sentence and sentence.strip() for sentence in sentences)


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "word. ",
        "Word. ",
        ".",
        ". ",
        '."',
        ".(",
        "A. ",
        "U.S. ",
        "a.",
        "。",
        "」",
        "“",
        "1. ",
    ],
)
def test_time_is_linear_in_the_length(unit: str) -> None:
    text = unit * 100_000
    start = time.process_time()
    sentences = split_prose(text)
    assert time.process_time() - start < 5
    assert len("".join(sentences).replace(" ", "")) == len(text.replace(" ", ""))


def test_a_line_is_a_sentence() -> None:
    assert split_lines("  A b.\tC  d. ") == ["A b. C d."]
    assert split_lines(" \n") == []


def test_splitters_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_splitter("prose") is split_prose
    monkeypatch.setitem(SPLITTERS, "commas", lambda paragraph: paragraph.split(","))
    assert find_splitter("commas")("a,b") == ["a", "b"]
    with pytest.raises(UserError, match=r"data\.sentences=comma is not one of wikitext, prose"):
        find_splitter("comma")


OWN = """
from bert_lightning.extensions import extension

@extension("splitter")
def clauses(paragraph):
    return paragraph.split(";")

def unmarked(paragraph):
    raise AssertionError
"""


def test_a_splitter_of_ones_own_is_named_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_splitters.py").write_text(OWN)
    assert find_splitter("own_splitters:clauses")("a;b") == ["a", "b"]
    before = splitter_version("own_splitters:clauses")
    (tmp_path / "own_splitters.py").write_text(OWN.replace('";"', '","'))
    assert splitter_version("own_splitters:clauses") != before, "a stale store would be used"
    for name, says in {
        "own_splitters:unmarked": "unmarked is not marked as a splitter",
        "own_splitters:absent": "absent does not exist",
        "os:system": "system is not marked as a splitter",
        "no_such_module:clauses": "the module no_such_module cannot be imported",
        ":clauses": "the module  cannot be imported",
    }.items():
        with pytest.raises(UserError, match=f"data.sentences={name}: {says}"):
            find_splitter(name)


def test_pysbd_says_how_it_is_had_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences._pysbd_segmenter.cache_clear()
    monkeypatch.setitem(sys.modules, "pysbd", None)
    with pytest.raises(UserError, match=r"pip install 'bert-lightning\[pysbd\]'"):
        find_splitter("pysbd")


def test_pysbd_splits() -> None:
    pytest.importorskip("pysbd")
    split = find_splitter("pysbd")
    assert split("Dr. Jones left.  He was late.") == ["Dr. Jones left.", "He was late."]


_MIXED = st.lists(
    st.sampled_from([*".!?\"')]}([{ \n\t\x1c\u00a0…。é", "e.g", "Dr", "No", "A", "b", "1"])
)


@given(paragraph=_MIXED.map("".join))
def test_the_quick_searches_find_the_ends_that_the_full_one_finds(paragraph: str) -> None:
    expected, start = [], 0
    for end in sentences._RARE_END.finditer(paragraph):
        if sentences._ends_sentence(paragraph, start, end):
            expected.append(paragraph[start : end.end()])
            start = end.end()
    expected = [" ".join(part.split()) for part in [*expected, paragraph[start:]]]
    assert split_prose(paragraph) == [part for part in expected if part]
