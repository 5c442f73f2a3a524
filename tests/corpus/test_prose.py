"""A vocabulary of WikiText reads text as people write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bert_lightning.config import Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.corpus.vocabulary.prose import reading_prose

WORDS = [
    *("didn", "'t", "i", "know", "@-@", "1", "@,@", "000", "@.@", "5", "the", "u.s.", "card"),
    *("it", "'s", '"', "?", "!", ",", ".", "(", ")", "$", "o", "'brien"),
]
CONFIG = TokenizerConfig(kind=TokenizerKind.word, min_frequency=1)


@pytest.fixture(scope="module")
def wikitext() -> Tokenizer:
    return build_tokenizer([" ".join(WORDS)], CONFIG, Format.wikitext)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the card?", "the card ?"),
        ("I didn't know!", "i didn 't know !"),
        ("I didn’t know, “the U.S.”", 'i didn \'t know , " the u.s. "'),
        ("(it's 1,000.5$)", "( it 's 1 @,@ 000 @.@ 5 $ )"),
        ("know-it", "know @-@ it"),
        ("O'Brien.", "o 'brien ."),
        ("the <unk> card", "the [UNK] card"),
        ("the [MASK].", "the [MASK] ."),
        ("unheard-of", "[UNK] @-@ [UNK]"),
    ],
)
def test_text_is_read_as_wikitext_writes_it(wikitext: Tokenizer, text: str, tokens: str) -> None:
    assert reading_prose(wikitext).encode(text, add_special_tokens=False).tokens == tokens.split()


@given(st.lists(st.sampled_from(WORDS)))
def test_what_is_written_so_stays_the_same(wikitext: Tokenizer, words: list[str]) -> None:
    text = " ".join(words)
    assert reading_prose(wikitext).encode(text).ids == wikitext.encode(text).ids


def test_characters_stay_where_they_are(wikitext: Tokenizer) -> None:
    text = "I didn’t know the U.S."
    found = reading_prose(wikitext).encode(text, add_special_tokens=False)
    read = [text[start:end] for start, end in found.offsets]
    assert read == ["I", "didn", "’t", "know", "the", "U.S."]


def test_other_tokenizers_stay_as_they_are(wikitext: Tokenizer) -> None:
    for kind in TokenizerKind:
        made = build_tokenizer(
            [" ".join(WORDS)], TokenizerConfig(kind=kind, min_frequency=1), Format.prose
        )
        assert reading_prose(made) is made
    once = reading_prose(wikitext)
    assert reading_prose(once) is once


def test_a_vocabulary_without_such_words_is_read_too() -> None:
    made = build_tokenizer(["a b . ?"], CONFIG, Format.wikitext)
    assert reading_prose(made).encode("A b?", add_special_tokens=False).tokens == ["a", "b", "?"]
