"""Text of any script, encoded and decoded: the text again, but for what docs/text.md names."""

import re
import unicodedata
from itertools import chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bert_lightning.batch import UNK
from bert_lightning.config import Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.corpus.vocabulary.build import build_tokenizer

PARTS = [
    *(
        "مُحَمَّدٌ",
        "كِتَابٌ",
        "\u202bשָׁלוֹם\u202c",
        "\u2067בְּרֵאשִׁית\u2069",
        "می\u200cخواهم",
        "\u200eABC\u200f",
    ),  # both ways
    *("नदी", "क्षत्रिय", "र्\u200dय", "நதிக்கு", "แม่น้ำ", "ជំរាប\u200bសួរ", "မြစ်"),
    *("Tiếng", unicodedata.normalize("NFD", "Việt"), "e\u0301\u0323", "한국", "\u1112\u1161\u11ab"),
    *(
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "🇯🇵",
        "☃\ufe0f",
        "1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e007f",
    ),
    *("ＡＢＣ１２", "ｶﾞ", "！？", "ﬁ", "Ⅳ", "㎏", "々", "〇"),
    *("起重机", "“吊”", "《诗》，", "……", "—", "東京", "へ", "ガギ", "カ\u3099", "「はい。」", "·"),
    *(
        "Crane",
        "İI",
        "ΟΔΟΣ",
        "Ёлка",
        "Straße",
        "don't",
        "3.14",
        "a-b",
        "$5",
        "x" * 60,
        "co\u00adop",
    ),
    *("[SEP]", "##ed", "@-@"),
]
SPACES = ["", " ", "  ", "\u3000", "\u00a0", "\t", "\u200b"]
TEXT = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(SPACES)), min_size=1, max_size=7)
TEXTS = st.one_of(
    TEXT.map(lambda parts: "".join(chain.from_iterable(parts))),
    st.text(st.sampled_from(sorted({*"".join(PARTS), *"".join(SPACES)})), min_size=1, max_size=25),
)
HAN = r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
WIDE_MARK = r"[！？，。、；：「」『』《》（）・]"
KANA = r"[\u3005-\u30ff\u31f0-\u31ff“”‘’…—·]"
INVISIBLE = dict.fromkeys(
    [*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xAD]
)


def words_of(text: str, kind: TokenizerKind, lowercase: bool) -> list[str]:
    """Returns the words of a text after the documented normalization."""
    pieces = kind is TokenizerKind.wordpiece
    if pieces:
        text = text.translate(INVISIBLE).replace("\u200b", " ")
    text = unicodedata.normalize("NFC", "".join(map(str.lower, text)) if lowercase else text)
    words = list[str]()
    for word in text.split():
        run = ""
        for character in word:
            mark = character in "$+<=>^`|~" or unicodedata.category(character)[0] == "P"
            if mark or (pieces and re.match(HAN, character)):
                words += [run, character]
                run = ""
            else:
                run += character
        words.append(run)
    return [part for word in words for part in (_divided(word) if pieces else [word]) if part]


def _divided(word: str) -> list[str]:
    """Divides a word every 50 characters, each with its marks."""
    parts, bases = [""], 0
    for character in word:
        joins = unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"
        bases += not joins
        if bases > 50 and not joins:
            parts.append("")
            bases = 1
        parts[-1] += character
    return parts


def written(words: list[str], kind: TokenizerKind) -> str:
    """Joins words by spaces, but for those that are never written."""
    text = " ".join(words)
    if kind is TokenizerKind.word:
        return text
    text = re.sub(r" (?=[.?!,](?: |$))", "", text)
    for before, after in ((WIDE_MARK, ""), ("", WIDE_MARK), (HAN, HAN), (HAN, KANA), (KANA, HAN)):
        left, right = f"(?<={before})" * bool(before), f"(?={after})" * bool(after)
        text = re.sub(f"{left} {right}", "", text)
    return text


def built(text: str, kind: TokenizerKind, lowercase: bool) -> Tokenizer:
    config = TokenizerConfig(kind=kind, min_frequency=1, lowercase=lowercase)
    return build_tokenizer([text.replace("[SEP]", "[ SEP ]")], config, Format.prose)


@pytest.mark.parametrize("kind", list(TokenizerKind))
@settings(max_examples=100, deadline=None)
@given(text=TEXTS, lowercase=st.booleans())
@example(text="他说：“起重机 BERT 在 2024 年吊起了《钢板》。” 東京へ行く", lowercase=True)
@example(text="$5 + a=b", lowercase=False)
@example(text="Is it the crane? It is, isn't it... a-b (c)!", lowercase=False)
def test_decoded_tokens_are_the_normalized_text(
    kind: TokenizerKind, text: str, lowercase: bool
) -> None:
    words = words_of(text, kind, lowercase)
    if not words:
        return
    tokenizer = built(text, kind, lowercase)
    tokenizer.encode_special_tokens = True
    encoded = tokenizer.encode(text, add_special_tokens=False)
    assert UNK not in encoded.tokens
    decoded = tokenizer.decode(encoded.ids)
    assert decoded == written(words, kind)
    assert tokenizer.encode(decoded, add_special_tokens=False).ids == encoded.ids
