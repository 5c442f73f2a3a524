"""Windows of questions and contexts, and the way from characters to tokens and back."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.errors import UserError
from bert_lightning.finetuning.answering.windows import encode_questions, window_starts
from bert_lightning.finetuning.labelled.answers import answers_of
from bert_lightning.finetuning.labelled.examples import Answer, LabelledExample
from bert_lightning.finetuning.labelled.squad import COLUMNS, squad_table
from bert_lightning.finetuning.tasks.sequences import Encoded, Windows

XQUAD = Path(__file__).parents[3] / "shared" / "datasets" / "xquad"
CLS, SEP = 2, 3


def letters(text: str) -> Tokenizer:
    """A tokenizer of single characters, lowercased and without accents."""
    seen = sorted({*unicodedata.normalize("NFD", text.lower())})
    tokens = [*SPECIAL_TOKENS, *seen, *(f"##{letter}" for letter in seen)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=10_000)
    )
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def built(kind: TokenizerKind, texts: Sequence[str]) -> Tokenizer:
    """A tokenizer as runs here build it, of at most 4,000 tokens, in small letters."""
    config = TokenizerConfig(
        kind=kind, vocab_size=None, min_frequency=1, lowercase=True, strip_accents=True
    )
    return build_tokenizer(texts, config, Format.prose)


def xquad(language: str, form: str) -> list[LabelledExample]:
    """Every question of XQuAD in one language, in a normal form of Unicode."""
    table = squad_table(XQUAD / f"xquad.{language}.json")
    assert table is not None
    examples = []
    for row in table.rows(COLUMNS):
        question, context, cell = row.cells
        (answer,) = answers_of(cell, context, "answers", row.place)
        text, before = (
            unicodedata.normalize(form, part) for part in (answer.text, context[: answer.start])
        )
        texts = question, unicodedata.normalize(form, context)
        assert texts[1].startswith(text, len(before))
        examples.append(LabelledExample(texts, (Answer(text, len(before)),), row.place))
    return examples


def encoded_in_windows(
    examples: Sequence[LabelledExample], tokenizer: Tokenizer, max_length: int
) -> tuple[Encoded, Windows]:
    encoded = encode_questions(examples, tokenizer, max_length)
    assert encoded.windows is not None
    return encoded, encoded.windows


def found_again(examples: Sequence[LabelledExample], tokenizer: Tokenizer) -> Counter[str]:
    """Follows every answer to tokens and back in each window that holds it whole."""
    encoded, windows = encoded_in_windows(examples, tokenizer, 400)
    bounds = pairwise(np.cumsum([0, *(len(one.positions) for one in encoded.sequences)]).tolist())
    results: Counter[str] = Counter()
    seen: dict[int, tuple[int, int]] = {}
    for question, span, (start, end) in zip(
        windows.questions.tolist(), encoded.labels, bounds, strict=True
    ):
        own = windows.characters[start:end]
        assert tuple(own[0]) == (0, 0)
        if span[0]:
            found = int(own[span[0], 0]), int(own[span[1], 1])
            assert seen.setdefault(question, found) == found, "all windows agree"
    for number, example in enumerate(examples):
        context, (answer,) = example.texts[1], example.label
        start, end = seen[number]
        results["equal" if context[start:end] == answer.text else "wider"] += 1
        assert start <= answer.start
        assert end >= answer.start + len(answer.text)
    return results


@pytest.mark.slow
@pytest.mark.skipif(not XQUAD.is_dir(), reason="needs XQuAD of ../shared/datasets")
@pytest.mark.parametrize(
    ("language", "kind", "form", "wider"),
    [
        ("en", "wordpiece", "NFC", 1),  # the answer "… (2,70" ends within a word
        ("en", "wordpiece", "NFD", 1),
        ("en", "word", "NFC", 1),
        ("en", "letters", "NFC", 0),
        ("zh", "wordpiece", "NFC", 0),
        ("zh", "word", "NFC", 138),  # clauses without spaces are words
        ("zh", "letters", "NFC", 0),
    ],
)
def test_every_answer_of_xquad_is_found_again(
    language: str, kind: str, form: str, wider: int
) -> None:
    examples = xquad(language, form)
    texts = [example.texts[1] for example in examples]
    if kind == "letters":
        tokenizer = letters("".join(texts))
    else:
        tokenizer = built(TokenizerKind(kind), texts[::40])
    results = found_again(examples, tokenizer)
    assert (results["equal"], results["wider"]) == (1190 - wider, wider)


PIECES = [
    "crane",
    "İstanbul",
    "café",
    "cafe\u0301",
    "ﬁn",
    "中",
    "文",
    "👍🏽",
    "\u200b",
    "naïve",
    "ß",
    "Ⅻ",
]
"""Words whose characters the normalizers delete, add, compose, divide or put into small letters."""


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(st.sampled_from(PIECES), max_size=4),
    answer=st.lists(st.sampled_from(PIECES[:4]), min_size=1, max_size=3),
    after=st.lists(st.sampled_from(PIECES), max_size=4),
    kind=st.sampled_from([*TokenizerKind, "letters"]),
)
def test_an_answer_between_other_words_is_found_again(
    tokenizers: dict[object, Tokenizer],
    before: list[str],
    answer: list[str],
    after: list[str],
    kind: object,
) -> None:
    context = " ".join([*before, *answer, *after])
    start = len(" ".join([*before, ""]))
    right = Answer(" ".join(answer), start)
    examples = [LabelledExample(("crane ?", context), (right,), "here")]
    assert found_again(examples, tokenizers[kind]) == {"equal": 1}


@pytest.fixture(scope="module")
def tokenizers() -> dict[object, Tokenizer]:
    text = " ".join(["?", *PIECES])
    made: dict[object, Tokenizer] = {kind: built(kind, [text]) for kind in TokenizerKind}
    return {**made, "letters": letters(text)}


@pytest.fixture(scope="module")
def by_letter() -> Tokenizer:
    return letters("abcdefgh?")


def example(question: str, context: str, *answers: Answer) -> LabelledExample:
    return LabelledExample((question, context), answers, "questions.json, question 7")


def test_a_window_is_the_question_and_a_part_of_the_context(by_letter: Tokenizer) -> None:
    asked = example("a b", "a b c d e f", Answer("d e", 6))
    encoded, windows = encoded_in_windows([asked], by_letter, 9)
    read = [[by_letter.id_to_token(token) for token in one.ids] for one in encoded.sequences]
    assert [" ".join(one) for one in read] == [
        "[CLS] a b [SEP] a b c d [SEP]",
        "[CLS] a b [SEP] c d e f [SEP]",
    ]
    assert [one.first_length for one in encoded.sequences] == [4, 4]
    assert [one.positions for one in encoded.sequences] == [[0, 4, 5, 6, 7]] * 2
    assert encoded.labels.tolist() == [[0, 0], [2, 3]]  # no answer, and its second to third token
    assert windows.characters[5:].tolist() == [[0, 0], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert windows.questions.tolist() == [0, 0]
    assert encoded.cut == 1  # it has more than one window


def test_only_a_question_longer_than_half_of_a_window_is_cut(
    by_letter: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    long, short = example("a b c d", "a b"), example("a b c", "a b")
    encoded = encode_questions([long, short], by_letter, 9)
    assert [one.first_length for one in encoded.sequences] == [5, 5]
    (record,) = caplog.records
    assert record.getMessage() == (
        "questions that have more tokens than half a window, and are cut: 1 (the first: "
        "questions.json, question 7)"
    )


def test_a_question_without_an_answer_points_to_cls(by_letter: Tokenizer) -> None:
    encoded = encode_questions([example("a", "b c")], by_letter, 9)
    assert encoded.labels.tolist() == [[0, 0]]


def test_an_answer_of_which_no_token_is_left_is_counted(
    tokenizers: dict[object, Tokenizer], caplog: pytest.LogCaptureFixture
) -> None:
    gone = example("crane ?", "crane \u200b", Answer("\u200b", 6))
    encoded = encode_questions([gone], tokenizers[TokenizerKind.wordpiece], 9)
    assert "answers of which the tokenizer leaves nothing" in caplog.text
    assert encoded.labels.tolist() == [[0, 0]]


def test_an_answer_longer_than_every_window_is_refused(by_letter: Tokenizer) -> None:
    long = example("a", "a b c d e f g h", Answer("a b c d e f", 0))
    with pytest.raises(UserError) as refused:
        encode_questions([long], by_letter, 9)
    assert str(refused.value) == (
        "questions.json, question 7: the answer has 6 tokens, and no window holds it whole: "
        "batch.max_length=9 tokens leave 5 beside the question; raise batch.max_length, or take "
        "the question out"
    )


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 60), st.integers(1, 12))
def test_windows_cover_the_context_and_overlap_by_half(length: int, room: int) -> None:
    starts = window_starts(length, room)
    assert starts[-1] + room >= length
    assert all(b - a == max(1, room // 2) for a, b in pairwise(starts))
    assert len(starts) == 1 or starts[-2] + room < length  # none is superfluous
