"""Encoding by distinct words gives what encoding the sentences gives, and where words begin."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain import encode_plain
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer, Replace
from tokenizers.pre_tokenizers import (
    BertPreTokenizer,
    ByteLevel,
    Punctuation,
    Sequence,
    WhitespaceSplit,
)

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.corpus import encoding
from bert_lightning.corpus.encoding import TextEncoder
from bert_lightning.corpus.vocabulary import known
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.corpus.vocabulary.division import Divisible, at_punctuation, divisible

PIECES = [*SPECIAL_TOKENS, *"abcdefgh.,'", "un", "##able", "##a", "##b", "##like", "i", "##ly"]
TEXT = ["the crane sees it , unable .", "it's a b-c . <unk> the", "Ab ab [SEP] é"]


def words(text_format: Format) -> Tokenizer:
    config = TokenizerConfig(min_frequency=1, lowercase=False)
    return build_tokenizer(TEXT, config, text_format)


def pieces() -> Tokenizer:
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = pieces()
    tokenizer.pre_tokenizer = ByteLevel()
    return tokenizer


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "wikitext": lambda: words(Format.wikitext),
    "prose": lambda: words(Format.prose),
    "pieces": pieces,
    "byte level": byte_level,
}
SENTENCES = st.lists(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from([*PIECES, *" \t\u0301\u3000", "unable", "<unk>", "中"])).map(
            "".join
        ),
        st.lists(st.sampled_from([*PIECES, "unably", "<unk>", "", "\x1c"])).map(" ".join),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", MAKERS)
@given(sentences=SENTENCES)
def test_ids_are_those_of_the_sentences(kind: str, sentences: list[str]) -> None:
    tokenizer = MAKERS[kind]()
    encoder = TextEncoder(tokenizer)
    assert (encoder._divisible is Divisible.NOWHERE) == (kind == "byte level")
    expected = encode_plain(tokenizer, sentences)
    for _ in range(2):  # the second time from what it knows
        encoded = encoder.encode([[sentences]])
        assert encoded.token_ids.tolist() == [i for ids in expected for i in ids]
        assert encoded.sentence_lengths.tolist() == [len(ids) for ids in expected if ids]
        assert encoded.paragraph_lengths.sum() == len(encoded.sentence_lengths)
        assert encoded.document_lengths.sum() == len(encoded.paragraph_lengths)


def test_word_starts_are_those_of_the_words() -> None:
    encoder = TextEncoder(pieces())
    encoded = encoder.encode([[["unable, ab", "a-unlikely"], ["b"]], [["abba"]]])
    tokens = [PIECES[i] for i in encoded.token_ids]
    expected = "un ##able , a ##b a [UNK] un ##like ##ly b a ##b ##b ##a"
    assert tokens == expected.split()
    starts = [not token.startswith("##") for token in tokens]
    assert encoded.word_starts.tolist() == starts
    assert encoded.sentence_lengths.tolist() == [5, 5, 1, 4]
    assert encoded.paragraph_lengths.tolist() == [2, 1, 1]
    assert encoded.document_lengths.tolist() == [2, 1]


def test_what_has_no_token_is_left_out_at_every_level() -> None:
    encoder = TextEncoder(pieces())
    encoded = encoder.encode([[["\x00", "a"], ["\x00"]], [["\x00"]], [["a b", "\x00"], ["b"]]])
    assert encoded.sentence_lengths.tolist() == [1, 2, 1]
    assert encoded.paragraph_lengths.tolist() == [1, 1, 1]
    assert encoded.document_lengths.tolist() == [1, 0, 2], "documents keep their numbers"
    assert encoder.encode([[["\x00"]]]).document_lengths.tolist() == [0]


def test_little_is_kept_in_memory_and_long_text_goes_in_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = TextEncoder(pieces()).encode([[TEXT]] * 9)
    monkeypatch.setattr(known, "_MOST_KNOWN", 3)
    monkeypatch.setattr(encoding, "_CHARACTERS", 7)
    encoder = TextEncoder(pieces())
    parts = [encoder.encode([[TEXT]]) for _ in range(9)]
    assert len(encoder._words._place) < 30
    assert len(encoder._parts._place) < 30
    for array, expected in zip(zip(*parts, strict=True), whole, strict=True):
        assert np.array_equal(np.concatenate(array), expected)


def test_words_are_divided_at_punctuation_only_where_no_token_changes() -> None:
    tokenizer = pieces()
    assert divisible(tokenizer) is Divisible.AT_PUNCTUATION
    tokenizer.normalizer = Replace("a.", "b")
    assert divisible(tokenizer) is Divisible.AT_SPACES
    tokenizer.normalizer = Replace("é", "e")
    assert divisible(tokenizer) is Divisible.AT_PUNCTUATION
    tokenizer.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation("merged_with_next")])
    assert divisible(tokenizer) is Divisible.AT_SPACES
    assert divisible(words(Format.wikitext)) is Divisible.AT_SPACES
    assert divisible(words(Format.prose)) is Divisible.AT_PUNCTUATION


def test_parts_of_words() -> None:
    divided = at_punctuation(["(crane),", "", "é.a", "a\nb", "x_1", "."])
    expected = [" ", "(", "crane", ")", ",", " ", " ", "é.a", " ", "a\nb", " ", "x", "_", "1"]
    assert divided == [*expected, " ", "."]
