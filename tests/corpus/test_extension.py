"""Words of a new domain in an existing vocabulary."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import CorpusConfig, Format, PairsConfig, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.tokenizer import (
    Tokenizer,
    load_tokenizer,
    load_tokenizer_text,
    made_ready,
    rows_needed,
)
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.corpus.vocabulary.extend import extend, pieces_of_new
from bert_lightning.errors import UserError

PAIRS = PairsConfig()
SENTENCES = [
    "The enzyme binds the substrate.",
    "An Enzyme, a substrate: 2048 times!",
    "enzyme kinetics 2048 2048 2048",
]


def pieces(words: tuple[str, ...] = ("the", "bind", "##s", "kin")) -> Tokenizer:
    """A tokenizer of some words, of digits and of the letters of which the others are made."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:!"
    entries = [*SPECIAL_TOKENS, *words, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return made_ready(tokenizer, "a test")


def options(count: int, min_frequency: int = 1) -> TokenizerConfig:
    return TokenizerConfig(extend=count, min_frequency=min_frequency)


def added(old: Tokenizer, new: Tokenizer) -> list[str]:
    words = new.get_vocab()
    return sorted(set(words) - set(old.get_vocab()), key=words.__getitem__)


def test_the_most_frequent_words_that_are_split_come_behind_all_others() -> None:
    old = pieces()
    new = extend(old, SENTENCES, options(3), Format.prose)
    # "the" is whole already, and 2048 has no letter.
    assert added(old, new) == ["enzyme", "substrate", "an"]
    size = old.get_vocab_size()
    assert [new.token_to_id(word) for word in added(old, new)] == [size, size + 1, size + 2]
    assert new.encode("An ENZYME binds").tokens == ["[CLS]", "an", "enzyme", "bind", "##s", "[SEP]"]
    assert new.encode("the", "enzyme").type_ids == [0, 0, 0, 1, 1]


def test_ids_that_stand_for_nothing_are_left_so() -> None:
    old = pieces()
    gap = max(old.get_vocab().values()) + 7
    old = load_tokenizer_text(old.to_str().replace('"##!":', f'"##!":{gap},"##?":'))
    new = extend(old, SENTENCES, options(2), Format.prose)
    assert [new.token_to_id(word) for word in added(old, new)] == [gap + 1, gap + 2]
    assert rows_needed(new) == gap + 3 > new.get_vocab_size()


def test_a_word_has_to_be_frequent_enough() -> None:
    old = pieces()
    assert added(old, extend(old, SENTENCES, options(9, 2), Format.prose)) == [
        "enzyme",
        "substrate",
    ]


def test_nothing_to_add_leaves_the_tokenizer_as_it_is() -> None:
    old = pieces()
    assert extend(old, SENTENCES, options(0), Format.prose) is old
    assert extend(old, ["the"], options(9), Format.prose).to_str() == old.to_str()


def test_what_a_new_word_was_made_of() -> None:
    old = pieces()
    new = extend(old, SENTENCES, options(3), Format.prose)
    names = {
        new.id_to_token(number): [old.id_to_token(piece) for piece in parts]
        for number, parts in pieces_of_new(old, new).items()
    }
    assert names["an"] == ["a", "##n"]
    assert names["enzyme"] == ["e", "##n", "##z", "##y", "##m", "##e"]
    assert len(names) == 3


@pytest.mark.parametrize("text_format", list(Format))
def test_whole_words_that_were_unknown(text_format: Format) -> None:
    old = build_tokenizer(["the crane flies"], TokenizerConfig(min_frequency=1), text_format)
    text = ["the enzyme <unk> flies", "an enzyme <unk> <unk> [UNK]"]
    new = extend(old, text, options(1), text_format)
    assert added(old, new) == (["enzyme"] if text_format is Format.wikitext else ["unk"])
    unknown = old.token_to_id("[UNK]")
    assert list(pieces_of_new(old, new).values()) == [[unknown]]


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    old = Tokenizer(models.BPE({"[UNK]": 0, "a": 1}, [], unk_token="[UNK]"))
    with pytest.raises(UserError, match=r"tokenizer\.extend=3: words cannot be added to a BPE"):
        extend(old, ["a"], options(3), Format.prose)


@given(st.lists(st.text("abcé .,-1Ä", max_size=20), max_size=8), st.integers(1, 9))
def test_every_new_word_is_one_token_and_old_ids_stay(texts: list[str], count: int) -> None:
    old = pieces()
    new = extend(old, texts, options(count), Format.prose)
    words = new.get_vocab()
    assert sorted(words.values()) == list(range(len(words)))
    assert len(words) - old.get_vocab_size() <= count
    assert all(words[word] == number for word, number in old.get_vocab().items())
    for word in added(old, new):
        assert any(word.lstrip("#") in old.normalizer.normalize_str(text) for text in texts)
        if not word.startswith("##"):
            assert new.encode(word, add_special_tokens=False).ids == [words[word]]


EMOJI = ["so good 😀 🎉 !", "bad 😀😀 good😀", "👍🏽 🇯🇵 ☃️ 2048 𝄞", "क्या é½"]


@given(st.lists(st.text("ab é😀🏽🇯🇵☃️½क्", max_size=20), max_size=8))
def test_with_room_for_all_nothing_stays_unknown(texts: list[str]) -> None:
    new = extend(pieces(), [*texts, *EMOJI], options(500), Format.prose)
    for text in (*texts, *EMOJI):
        assert "[UNK]" not in new.encode(text).tokens


def test_emoji_are_added_as_they_stand() -> None:
    old = pieces()
    new = extend(old, EMOJI[:2] * 2, options(3), Format.prose)
    assert added(old, new) == ["##😀", "😀", "bad"]  # as often, and then by the alphabet
    assert new.encode("oh😀 😀😀").tokens[1:-1] == ["o", "##h", "##😀", "😀", "##😀"]
    unknown = old.token_to_id("[UNK]")
    assert [pieces_of_new(old, new)[new.token_to_id(word)] for word in ("😀", "##😀")] == [
        [unknown],
        [unknown],
    ]


def test_a_character_that_is_known_elsewhere_in_a_word_starts_from_there() -> None:
    old = load_tokenizer_text(pieces().to_str().replace('"##!":', '"é":200,"##!":'))
    old.normalizer = normalizers.Lowercase()
    new = extend(old, ["aé"], options(1), Format.prose)
    assert added(old, new) == ["##é"]
    assert pieces_of_new(old, new) == {new.token_to_id("##é"): [200]}


def test_numbers_and_marks_that_are_split_are_not_added() -> None:
    old = pieces()
    assert added(old, extend(old, ["2048 20:48 !!"] * 9, options(9), Format.prose)) == []


def test_a_word_too_long_to_be_looked_up_is_not_added() -> None:
    old = pieces()
    assert added(old, extend(old, ["x" * 101, "y" * 100], options(9), Format.prose)) == ["y" * 100]


def test_the_store_is_of_the_tokenizer_that_is_really_used(
    small_data: CorpusConfig, tmp_path: Path
) -> None:
    base = pieces()
    base.save(str(tmp_path / "tokenizer.json"))
    plain = prepare(small_data, TokenizerConfig(min_frequency=1), PAIRS, base)
    given_as_file = TokenizerConfig(min_frequency=1, path=str(tmp_path / "tokenizer.json"))
    extended = prepare(small_data, options(5), PAIRS, base)
    other = prepare(small_data, options(5), PAIRS, pieces(("the", "crane")))
    keys = {corpus.key for corpus in (plain, extended, other)}
    assert len(keys) == 3
    assert prepare(small_data, options(5), PAIRS, base).key == extended.key
    assert extended.tokenizer.get_vocab_size() == base.get_vocab_size() + 5
    assert extended.tokenizer.token_to_id("river") is not None
    assert plain.tokenizer.to_str() == base.to_str()
    assert prepare(small_data, given_as_file, PAIRS).tokenizer.to_str() == base.to_str()
    assert len(extended.splits["train"].token_ids) < len(plain.splits["train"].token_ids)


def test_a_tokenizer_from_a_file_is_extended_too(small_data: CorpusConfig, tmp_path: Path) -> None:
    pieces().save(str(tmp_path / "tokenizer.json"))
    config = TokenizerConfig(
        kind=TokenizerKind.word, path=str(tmp_path / "tokenizer.json"), extend=4, min_frequency=1
    )
    assert prepare(small_data, config, PAIRS).tokenizer.get_vocab_size() == (
        load_tokenizer(tmp_path / "tokenizer.json").get_vocab_size() + 4
    )
