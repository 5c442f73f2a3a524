"""Corpora that spoil a model are named, with the tokenizer or the option that helps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    CorpusSource,
    Format,
    Overlong,
    PairsConfig,
    PhaseConfig,
    TokenizerConfig,
    TokenizerKind,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.shortcomings import shortcomings
from bert_lightning.data.statistics import statistics

CHARACTERS = [chr(0x4E00 + number) for number in range(400)]
CHINESE = "\n\n".join(
    "".join(
        "".join(CHARACTERS[(at * 7 + place * place) % 400] for place in range(9)) + "。"
        for at in range(document * 3, document * 3 + 3)
    )
    for document in range(40)
)
TEXTS = {
    "Chinese": CHINESE,
    "Thai": "\n\n".join(
        f"แม่น้ำ{chr(0xE01 + n)}อยู่ใกล้{chr(0xE20 - n)}. เด็ก{chr(0xE03 + n)}ไป. ไม่มี." for n in range(20)
    ),
    "rare words": "\n\n".join(f"a{n} b{n} c{n}. D{n} e{n}. F{n}." for n in range(40)),
}


def corpus_of(folder: Path, text: str, tokenizer: TokenizerConfig) -> PreparedCorpus:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    data = CorpusConfig(
        source=CorpusSource.text,
        path=str(folder / "text.txt"),
        format=Format.prose,
        validation_fraction=0.0,
        test_fraction=0.0,
        cache_dir=str(folder / "cache"),
    )
    return prepare(data, tokenizer, PairsConfig())


def found(corpus: PreparedCorpus, batch: BatchConfig) -> list[str]:
    return shortcomings(corpus, statistics(corpus, batch, 0, None), batch)


@pytest.mark.parametrize("script", TEXTS)
def test_a_vocabulary_of_words_that_does_not_fit(
    script: str, tmp_path: Path, small_batch: BatchConfig
) -> None:
    (said,) = found(corpus_of(tmp_path, TEXTS[script], TokenizerConfig()), small_batch)
    assert "of the training tokens are [UNK], more than 5%: the tokenizer does not fit" in said
    assert said.endswith("tokenizer=wordpiece makes rare words of pieces, of which few are unknown")
    pieces = TokenizerConfig(TokenizerKind.wordpiece, min_frequency=2)
    assert found(corpus_of(tmp_path, TEXTS[script], pieces), small_batch) == []


def test_wordpieces_without_room_for_the_characters(
    tmp_path: Path, small_batch: BatchConfig
) -> None:
    few = TokenizerConfig(TokenizerKind.wordpiece, vocab_size=150, min_frequency=1)
    (said,) = found(corpus_of(tmp_path, CHINESE, few), small_batch)
    assert "a higher tokenizer.vocab_size has room for more single characters" in said


def test_an_existing_tokenizer(
    tmp_path: Path, small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    path = str(tmp_path / "tokenizer.json")
    small_corpus.tokenizer.save(path)
    (said,) = found(corpus_of(tmp_path, CHINESE, TokenizerConfig(path=path)), small_batch)
    assert "tokenizer.extend=1000 adds the words and characters that an existing" in said
    assert "without tokenizer.path and init_from, tokenizer=wordpiece makes" in said


def test_a_corpus_that_fits_has_none(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    assert found(small_corpus, replace(small_batch, max_length=48)) == []


@pytest.mark.parametrize("overlong", list(Overlong))
def test_pairs_that_are_too_long(
    small_corpus: PreparedCorpus, small_batch: BatchConfig, overlong: Overlong
) -> None:
    batch = replace(small_batch, max_length=17, pairs=PairsConfig(overlong=overlong))
    (said,) = found(small_corpus, batch)
    fate = "left out" if overlong is Overlong.drop else "cut"
    assert f"more than 20%, are longer than batch.max_length=17, and {fate}: a higher" in said
    train = small_corpus.splits["train"]
    first = train.first_sentence(np.arange(train.pairs), train.paragraph_starts)
    lengths = train.sentence_length(first) + train.sentence_length(first + 1)
    too_long = (lengths > 17 - 3).mean()
    assert said.startswith(f"{too_long:.1%} of the sentence pairs")


def test_pairs_that_are_too_long_for_a_phase(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    phases = [PhaseConfig(0.5, max_length=9), PhaseConfig(0.5)]
    batch = replace(small_batch, max_length=48, phases=phases)
    (said,) = found(small_corpus, batch)
    assert "are longer than batch.max_length=9, and cut" in said
