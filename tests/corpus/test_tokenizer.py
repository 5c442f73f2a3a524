"""The words a model knows, and that text cannot smuggle in special tokens."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from plain import encode_plain

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.corpus.tokenizer import (
    Tokenizer,
    load_tokenizer,
    load_tokenizer_text,
)
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.errors import UserError

SENTENCES = ["The crane lifts <unk> , and the driver", "the Crane sees <unk>", "the driver of"]


def build(
    sentences: list[str], frequency: int = 1, text_format: Format = Format.wikitext, **config: bool
) -> Tokenizer:
    return build_tokenizer(
        sentences, TokenizerConfig(min_frequency=frequency, **config), text_format
    )


@pytest.mark.parametrize("frequency", [1, 2, 3, 4])
def test_the_vocabulary_is_the_words_seen_often_enough(frequency: int) -> None:
    counts = Counter(" ".join(SENTENCES).lower().replace("<unk>", "").split())
    words = {word for word, count in counts.items() if count >= frequency}
    vocabulary = build(SENTENCES, frequency).get_vocab()
    assert set(vocabulary) == words | set(SPECIAL_TOKENS)
    assert sorted(vocabulary.values()) == list(range(len(words) + 5))


@pytest.mark.parametrize("text_format", list(Format))
@pytest.mark.parametrize("lowercase", [True, False])
def test_the_special_tokens_have_the_ids_0_to_4_even_if_the_text_is_full_of_them(
    text_format: Format, lowercase: bool
) -> None:
    text = ["the [SEP] crane [MASK] [PAD] [UNK] [CLS] flies"] * 5
    tokenizer = build(text, text_format=text_format, lowercase=lowercase)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))


@pytest.mark.parametrize("text_format", list(Format))
@pytest.mark.parametrize("lowercase", [True, False])
def test_special_tokens_in_the_text_stay_mere_text_and_in_a_query_they_are_special(
    text_format: Format, lowercase: bool
) -> None:
    text = "the [SEP] crane [MASK] flies [CLS] [PAD]"
    for corpus in ([text] * 3, ["the crane flies"] * 3):
        tokenizer = build(corpus, text_format=text_format, lowercase=lowercase)
        (ids,) = encode_plain(tokenizer, [text])
        assert not {0, 2, 3, 4} & set(ids)
        known = [tokenizer.token_to_id(word) for word in ("the", "crane", "flies")]
        assert [i for i in ids if i in known] == known
        query = tokenizer.encode("the [MASK] flies").ids
        assert query == [2, known[0], 4, known[2], 3]


def test_unk_in_wikitext_is_the_unknown_word_and_so_is_a_rare_one() -> None:
    tokenizer = build(SENTENCES, frequency=2)
    the, crane = (tokenizer.token_to_id(word) for word in ("the", "crane"))
    assert encode_plain(tokenizer, ["the <unk> crane", "The sees"]) == [[the, 1, crane], [the, 1]]
    assert tokenizer.encode("the <unk>").ids == [2, the, 1, 3]


def test_lowercase_decides_whether_crane_and_crane_are_one_word() -> None:
    assert len({i for (i,) in encode_plain(build(SENTENCES), ["crane", "Crane"])}) == 1
    cased = build(SENTENCES, lowercase=False)
    assert len({i for (i,) in encode_plain(cased, ["crane", "Crane"])}) == 2


def test_prose_splits_punctuation_from_words_and_wikitext_does_not() -> None:
    prose = build(["He came, it's late."], text_format=Format.prose)
    assert prose.encode("He came, it's late.", add_special_tokens=False).tokens == (
        ["he", "came", ",", "it", "'", "s", "late", "."]
    )
    wikitext = build(["Mo. is 3 @,@ 5"])
    assert set(wikitext.get_vocab()) - set(SPECIAL_TOKENS) == {"mo.", "is", "3", "@,@", "5"}


def test_a_pair_is_laid_out_as_bert_does() -> None:
    encoding = build(SENTENCES).encode("the crane", "driver")
    assert encoding.tokens == ["[CLS]", "the", "crane", "[SEP]", "driver", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 0, 1, 1]


def test_saved_and_loaded_it_encodes_alike(tmp_path: Path) -> None:
    tokenizer = build(SENTENCES, frequency=2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for loaded in (
        load_tokenizer(tmp_path / "tokenizer.json"),
        load_tokenizer_text(tokenizer.to_str()),
    ):
        assert loaded.get_vocab() == tokenizer.get_vocab()
        assert encode_plain(loaded, [*SENTENCES, "[SEP]"]) == encode_plain(
            tokenizer, [*SENTENCES, "[SEP]"]
        )
        assert (
            loaded.encode("the [MASK]", "<unk>").ids == tokenizer.encode("the [MASK]", "<unk>").ids
        )


def test_building_twice_gives_the_same_tokenizer(small_text: list[list[list[str]]]) -> None:
    sentences = [s for document in small_text for paragraph in document for s in paragraph]
    built = [build(sentences, text_format=Format.prose).to_str() for _ in range(2)]
    assert built[0] == built[1]


def test_a_missing_or_wrong_tokenizer_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as missing:
        load_tokenizer("absent.json")
    assert str(tmp_path / "absent.json") in str(missing.value)
    Path("wrong.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"wrong\.json is not a tokenizer\.json"):
        load_tokenizer("wrong.json")
    tokenizer = build(SENTENCES)
    Path("bare.json").write_text(tokenizer.to_str().replace("[MASK]", "[GAP]"))
    with pytest.raises(UserError, match=r"has no token \[MASK\]"):
        load_tokenizer("bare.json")


@pytest.mark.slow
def test_wikitext2_is_what_textbook_preprocessing_gives(
    wikitext2: Path, wikitext2_corpus: PreparedCorpus
) -> None:
    with (wikitext2 / "wiki.train.tokens").open(encoding="utf-8") as lines:
        paragraphs = [
            line.strip().lower().split(" . ") for line in lines if len(line.split(" . ")) >= 2
        ]
    assert len(paragraphs) == 15_496
    assert sum(len(paragraph) - 1 for paragraph in paragraphs) == 59_135
    split = wikitext2_corpus.splits["train"]
    assert (split.paragraphs, split.pairs) == (15_496, 59_135)

    counts = Counter(word for paragraph in paragraphs for s in paragraph for word in s.split())
    del counts["<unk>"]
    words = {word for word, count in counts.items() if count >= 5}
    vocabulary = wikitext2_corpus.tokenizer.get_vocab()
    assert len(vocabulary) == 20_256
    assert set(vocabulary) == words | set(SPECIAL_TOKENS)

    sentences = [sentence.split() for paragraph in paragraphs for sentence in paragraph]
    assert np.diff(split.sentence_starts).tolist() == [len(words) for words in sentences]
    expected = [vocabulary.get(word, 1) for words in sentences for word in words]
    assert np.array_equal(split.token_ids, expected)
