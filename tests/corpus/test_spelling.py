"""Text of many scripts comes back from its tokens: nothing that carries meaning is deleted."""

import logging
import random
import re
import unicodedata

import pytest
from plain import encode_plain

from bert_lightning.batch import UNK
from bert_lightning.config import Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.encoding import TextEncoder
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.corpus.vocabulary import unspaced
from bert_lightning.corpus.vocabulary.build import MOST_PIECES, build_tokenizer
from bert_lightning.corpus.vocabulary.division import Divisible, divisible

SCRIPTS = {
    "Hindi": "नदी के पास विद्यालय था । क्षत्रिय र्‍य",
    "Tamil": "நதிக்கு அருகில் பள்ளி இருந்தது",
    "Thai": "แม่น้ำอยู่ใกล้โรงเรียน",
    "Burmese": "မြစ်အနီးတွင် ကျောင်းရှိသည် ။",
    "Japanese": "がぎぐげご、パピプペポが川のそばにあった。",
    "Korean": "강가에 학교가 있었다 한국어",
    "Persian": "می‌خواهم کتاب‌ها را بخوانم ؟",
    "Arabic": "مُحَمَّدٌ كَتَبَ الدَّرْسَ",
    "Hebrew": "בְּרֵאשִׁית בָּרָא",
    "Russian": "Ёлка и йод , мой край",
    "Turkish": "İstanbul ılık ışık",
    "Vietnamese": "Tiếng Việt có nhiều dấu",
    "German": "Größe über Straße",
    "emoji": "👩‍👩‍👧 👍🏽 🇯🇵 ☃️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "newer than the library": "\U0001faea \U0001fadf",
}


def built(
    text: str, kind: TokenizerKind, lowercase: bool = True, accents: bool = False
) -> Tokenizer:
    config = TokenizerConfig(kind=kind, min_frequency=1, lowercase=lowercase, strip_accents=accents)
    return build_tokenizer([text] * 5, config, Format.prose)


def decoded(tokenizer: Tokenizer, text: str) -> str:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    tokens = [str(tokenizer.id_to_token(number)) for number in ids]
    assert UNK not in tokens
    return "".join(token.removeprefix("##") for token in tokens)


def without_spaces(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", list(TokenizerKind))
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_tokens_are_the_text(script: str, kind: TokenizerKind, lowercase: bool, typed: str) -> None:
    text = SCRIPTS[script]
    expected = unicodedata.normalize("NFC", text.lower() if lowercase else text)
    tokenizer = built(text, kind, lowercase)
    assert decoded(tokenizer, unicodedata.normalize(typed, text)) == without_spaces(expected)


@pytest.mark.parametrize("kind", list(TokenizerKind))
@pytest.mark.parametrize("script", ["Hindi", "Tamil", "Thai", "Japanese", "Korean", "Persian"])
def test_stripped_accents_are_not_the_marks_of_other_scripts(
    script: str, kind: TokenizerKind
) -> None:
    text = SCRIPTS[script]
    expected = unicodedata.normalize("NFC", text)
    assert decoded(built(text, kind, accents=True), text) == without_spaces(expected)


def test_accents_are_stripped_from_latin_greek_and_cyrillic() -> None:
    text = "café Ώρα мой ế"
    assert decoded(built(text, TokenizerKind.wordpiece, accents=True), text) == "cafeωραмоиe"


def test_wordpieces_skip_what_is_invisible_and_split_at_a_zero_width_space() -> None:
    tokenizer = built("cooperate left", TokenizerKind.wordpiece)
    text = "\ufeffco\u00adoper\x00ate\u200f\u200bleft"
    assert decoded(tokenizer, text) == "cooperateleft"
    assert len(set(tokenizer.encode(text, add_special_tokens=False).word_ids)) == 2


def test_the_scripts_by_words_are_the_scripts_by_sentences() -> None:
    """The quick way, over distinct words, is open to all vocabularies that are built here."""
    text = " ".join([*SCRIPTS.values(), "a\u00adb\u200bc", "แม่น้ำ" * 40])
    for accents in (True, False):
        for text_format in Format:
            config = TokenizerConfig(
                kind=TokenizerKind.wordpiece, min_frequency=1, strip_accents=accents
            )
            tokenizer = build_tokenizer([text], config, text_format)
            encoder = TextEncoder(tokenizer)
            assert divisible(tokenizer) is not Divisible.NOWHERE
            assert (
                encoder.encode([[[text]]]).token_ids.tolist() == encode_plain(tokenizer, [text])[0]
            )


@pytest.mark.parametrize("run", ["แม่น้ำอยู่ใกล้โรงเรียน" * 30, "acgt" * 200, "ぁ" * 900])
def test_a_long_run_without_spaces_is_divided_and_known(run: str) -> None:
    tokenizer = built(run, TokenizerKind.wordpiece)
    assert decoded(tokenizer, run) == unicodedata.normalize("NFC", run)


@pytest.mark.slow  # 5 s
@pytest.mark.timeout(60)
def test_training_on_a_million_characters_without_spaces_ends() -> None:
    rng = random.Random(0)
    letters = [chr(number) for number in (*range(0xE01, 0xE2F), *range(0x3041, 0x3090))]
    words = ["".join(rng.choices(letters, k=rng.randint(2, 8))) for _ in range(5000)]
    text = ["".join(rng.choices(words, k=50_000)) for _ in range(4)]
    config = TokenizerConfig(kind=TokenizerKind.wordpiece)
    assert build_tokenizer(text, config, Format.prose).get_vocab_size() == MOST_PIECES


def test_of_many_long_runs_a_sample_trains_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unspaced, "MOST_UNSPACED", 1000)
    text = [f"word {'x' * 100} end 中{'文' * 200}" for _ in range(1000)]
    assert list(unspaced.thinned(text[:9])) == text[:9]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        passed = list(unspaced.thinned(text))
    assert all(re.fullmatch(r"word (x{100}| ) end 中文{200}", sentence) for sentence in passed)
    used = sum("x" in sentence for sentence in passed)
    assert 30 < used < 80  # it grows with the logarithm
    assert "100,000 characters of the text stand in runs of more than 50 without" in caplog.text
    assert f"a sample of them, {100 * used:,} characters" in caplog.text
