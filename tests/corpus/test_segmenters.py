"""Words that a segmenter finds: which tokens begin one, in which store, and what is refused."""

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import encode_plain
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import NFC, BertNormalizer, Lowercase, Sequence
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Format,
    PairKind,
    PairsConfig,
    TokenizerConfig,
    TokenizerKind,
)
from bert_lightning.corpus import words
from bert_lightning.corpus.encoding import TextEncoder
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.words import (
    Segmenter,
    find_segmenter,
    segmenter_version,
    split_at_spaces,
    split_rjieba,
)
from bert_lightning.errors import UserError

PIECES = [*SPECIAL_TOKENS, *"起重机在吊钢板。，くabe", "un", "##load", "##ed", "##a", "##b", "##く"]
TEXT = st.lists(
    st.sampled_from(
        [*"起重机钢板。，ab Éé\u0301İべく\u3000👍\u200d", "un", "unload", "\x00", "[SEP]"]
    )
).map("".join)


def pieces() -> Tokenizer:
    tokenizer = Tokenizer(
        WordPiece({piece: place for place, piece in enumerate(PIECES)}, unk_token="[UNK]")
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.normalizer = Sequence([BertNormalizer(strip_accents=True), Lowercase(), NFC()])
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = pieces()
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


def starts_plain(
    tokenizer: Tokenizer, sentence: str, split: Callable[[str], list[str]]
) -> list[bool]:
    """Gives each character the number of its word, a space that of the next, and looks it up."""
    word_of, number, before = list[int](), 0, "x"
    for word in split(sentence):
        number += not before.isspace()
        word_of += [number] * len(word)
        before = word
    tokenizer.encode_special_tokens = True
    offsets = tokenizer.encode(sentence, add_special_tokens=False).offsets
    tokenizer.encode_special_tokens = False
    found = [word_of[start] for start, _ in offsets]
    return [place == 0 or found[place] != found[place - 1] for place in range(len(found))]


@pytest.mark.parametrize("make", [pieces, byte_level])
@settings(deadline=None)
@given(
    sentences=st.lists(TEXT, min_size=1, max_size=4),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5),
)
def test_a_token_begins_a_word_where_the_token_before_belongs_to_another(
    make: Callable[[], Tokenizer], sentences: list[str], lengths: list[int]
) -> None:
    tokenizer = make()

    def split(sentence: str) -> list[str]:
        cut: list[str] = []
        place = 0
        while place < len(sentence):
            length = lengths[len(cut) % len(lengths)]
            cut.append(sentence[place : place + length])
            place += length
        return cut

    encoder = TextEncoder(tokenizer, Segmenter("own", split))
    for _ in range(2):
        encoded = encoder.encode([[sentences]])
        ids = [token for each in encode_plain(tokenizer, sentences) for token in each]
        assert encoded.token_ids.tolist() == ids
        expected = [starts_plain(tokenizer, sentence, split) for sentence in sentences]
        assert encoded.word_starts.tolist() == [start for each in expected for start in each]


def words_of(sentence: str, segmenter: Segmenter) -> list[str]:
    """Returns the tokens of each word, joined by `+`."""
    encoded = TextEncoder(pieces(), segmenter).encode([[[sentence]]])
    joined = ""
    for token, start in zip(encoded.token_ids.tolist(), encoded.word_starts.tolist(), strict=True):
        joined += (" " if start else "+") + PIECES[token]
    return joined.split()


def test_words_of_chinese_and_of_a_word_of_latin_letters() -> None:
    given_words = ["在", "钢板", "，", "unloaded", " ", "ab", "起重机", "。"]
    segmenter = Segmenter("own", lambda _: given_words)
    assert words_of("".join(given_words), segmenter) == [
        *("在", "钢+板", "，", "un+##load+##ed", "a+##b", "起+重+机", "。")
    ]


def test_a_function_of_ones_own_may_divide_what_the_tokenizer_takes_as_one_word() -> None:
    assert words_of("くくく", Segmenter("own", lambda _: ["く", "くく"])) == ["く", "##く+##く"]


def test_text_that_was_segmented_before() -> None:
    spaces = find_segmenter("spaces")
    assert spaces is not None
    assert words_of("在 起重机 。", spaces) == ["在", "起+重+机", "。"]
    with_spaces, without = (
        TextEncoder(pieces()).encode([[[t]]]) for t in ("在 起重机 。", "在起重机。")
    )
    assert with_spaces.token_ids.tolist() == without.token_ids.tolist()


@given(st.text())
def test_words_between_spaces_join_to_the_text(text: str) -> None:
    assert "".join(split_at_spaces(text)) == text
    assert [word for word in split_at_spaces(text) if word.strip()] == text.split()


@settings(deadline=None)  # the first call reads the dictionary
@given(st.one_of(st.text(), TEXT))
def test_the_words_of_rjieba_join_to_the_text(text: str) -> None:
    pytest.importorskip("rjieba")
    assert "".join(split_rjieba(text)) == text


def test_rjieba_finds_the_words_of_chinese_and_divides_no_word_of_other_scripts() -> None:
    pytest.importorskip("rjieba")
    text = "起重机正在吊起一块钢板，café 的बच्चे看👩‍👩‍👧。"
    expected = "起重机|正在|吊起|一块|钢板|，|café| |的|बच्चे|看|👩‍👩‍👧|。"
    assert split_rjieba(text) == expected.split("|")


@pytest.mark.parametrize(
    ("split", "shown"),
    [
        (str.split, "they are ['起重机', '在', '吊']"),
        (lambda sentence: [sentence[:3], sentence[4:]], "they are ['起重机', '在 吊']"),
        (list[object], ""),
        (lambda sentence: [(sentence, "noun")], "they are [('起重机 在 吊', 'noun')]"),
    ],
)
def test_words_must_join_to_their_sentence(split: Callable[[str], list[str]], shown: str) -> None:
    encoder = TextEncoder(pieces(), Segmenter("own:split", split))
    if not shown:
        assert encoder.encode([[["起重机 在 吊"]]]).word_starts.all()
        return
    with pytest.raises(UserError) as error:
        encoder.encode([[["起重机 在 吊"], ["在"]]])
    assert str(error.value) == (
        "data.words=own:split: the words of '起重机 在 吊' must join to that sentence, with its "
        f"spaces, and {shown}"
    )


def test_a_long_sentence_is_cut_in_the_message() -> None:
    with pytest.raises(UserError) as error:
        Segmenter("own:split", str.split).starts("起重机 " * 999)
    assert len(str(error.value)) < 260


def test_segmenters_are_found_by_name() -> None:
    assert find_segmenter(None) is None
    assert find_segmenter("spaces") == Segmenter("spaces", split_at_spaces)
    assert segmenter_version(None) == segmenter_version("spaces") == ""
    with pytest.raises(UserError, match=r"data.words=jieba is not one of rjieba, spaces; did you"):
        find_segmenter("jieba")


def test_a_missing_package_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    words._rjieba.cache_clear()
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(UserError, match=r"pip install 'bert-lightning\[chinese\]'"):
        find_segmenter("rjieba")


@pytest.fixture
def data(tmp_path: Path) -> CorpusConfig:
    file = tmp_path / "text.txt"
    block = "起重机正在吊起钢板。司机看见了起重机。"
    file.write_text("\n\n".join(f"{n}号工地。{block}" for n in range(9)), encoding="utf-8")
    return CorpusConfig(
        source=CorpusSource.text,
        path=str(file),
        format=Format.prose,
        cache_dir=str(tmp_path / "cache"),
        test_fraction=0.0,
    )


TOKENIZER = TokenizerConfig(TokenizerKind.wordpiece, min_frequency=1)
PAIRS = PairsConfig(PairKind.segment)


def test_the_store_has_the_words_and_the_name_of_the_segmenter(data: CorpusConfig) -> None:
    pytest.importorskip("rjieba")
    plain, segmented = (
        prepare(replace(data, words=name), TOKENIZER, PAIRS) for name in (None, "rjieba")
    )
    assert plain.splits["train"].word_starts.all()
    train = segmented.splits["train"]
    tokens = [segmented.tokenizer.id_to_token(token) for token in train.token_ids[:20]]
    joined = "".join(
        f" {token}" if start else str(token)
        for token, start in zip(tokens, train.word_starts[:20], strict=True)
    )
    assert joined[3:] == "号 工地 。 起重机 正在 吊起 钢板 。 司机 看见 了"
    assert segmented.differences(plain.identity) == [
        "corpus: data.words=rjieba, and it was None",
        "corpus: the code that finds words (data.words) has changed",
    ]


def test_the_version_of_the_segmenter_names_the_store(
    data: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """from bert_lightning.extensions import extension
@extension("segmenter")
def twos(sentence):
    return [sentence[place : place + 2] for place in range(0, len(sentence), 2)]
def unmarked(sentence):
    return [sentence]
"""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_segmenters.py").write_text(code)
    own = replace(data, words="my_segmenters:twos")
    first = prepare(own, TOKENIZER, PAIRS)
    assert first.splits["train"].word_starts[:6].tolist() == [True, False, True, False, True, True]
    assert prepare(own, TOKENIZER, PAIRS).key == first.key
    (tmp_path / "my_segmenters.py").write_text(code + "# another rule")
    assert prepare(own, TOKENIZER, PAIRS).key != first.key
    with pytest.raises(UserError, match="unmarked is not marked as a segmenter; a segmenter is"):
        prepare(replace(data, words="my_segmenters:unmarked"), TOKENIZER, PAIRS)


def test_another_version_of_rjieba_is_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rjieba")
    assert segmenter_version("rjieba") == metadata.version("rjieba")
    monkeypatch.setattr(metadata, "version", lambda _: "99")
    assert segmenter_version("rjieba") == "99"
