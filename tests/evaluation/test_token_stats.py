"""The classes of tokens by frequency, and their texts."""

import math

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import TokenizerConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.evaluation.token_stats import CLASSES, token_stats

WORDS = ("the", "##ing", "café", "#", "##", "x")


@pytest.fixture
def pieces() -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *WORDS])}
    return Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))


def test_classes_begin_at_their_fractions_of_the_training_tokens(pieces: Tokenizer) -> None:
    counts = np.array([0, 500_000, 0, 0, 0, 1_000, 999, 100, 99, 0, 497_802])
    assert counts.sum() == 10**6
    found = token_stats(pieces, counts)
    assert found.limits == (1_000, 100)
    names = [CLASSES[group] for group in found.group]
    assert names[1] == "unknown"  # however frequent
    assert names[5:] == ["common", "middle", "middle", "rare", "rare", "common"]


def test_characters_are_those_of_the_text_without_a_wordpiece_mark(
    pieces: Tokenizer,
) -> None:
    found = token_stats(pieces, np.ones(len(SPECIAL_TOKENS) + len(WORDS) + 2, dtype=np.int64))
    assert found.characters.tolist() == [0] * 5 + [3, 3, 4, 1, 0, 1] + [0, 0]
    assert found.is_piece[5:11].tolist() == [False, True, False, False, True, False]


def test_characters_of_a_vocabulary_that_marks_spaces() -> None:
    vocabulary = {token: n for n, token in enumerate([*SPECIAL_TOKENS, "Ġthe", "ing", "Ã©", "Ġ"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    tokenizer.decoder = decoders.ByteLevel()
    found = token_stats(tokenizer, np.ones(9, dtype=np.int64))
    assert found.characters[5:].tolist() == [3, 3, 1, 0]
    assert not found.is_piece.any()


def test_the_rank_and_the_unigram_loss(small_corpus: PreparedCorpus) -> None:
    counts = small_corpus.splits["train"].token_counts
    found = token_stats(small_corpus.tokenizer, counts)
    by_rank = counts[np.argsort(found.rank)]
    assert (np.diff(by_rank) <= 0).all()
    most_frequent = int(counts.argmax())
    assert found.rank[most_frequent] == 0
    total = int(counts.sum()) + len(counts)
    assert found.unigram_nll[most_frequent] == pytest.approx(
        math.log(total / (int(counts[most_frequent]) + 1))
    )


@pytest.mark.slow
def test_wikitext2_has_its_known_limits(wikitext2_corpus: PreparedCorpus) -> None:
    counts = wikitext2_corpus.splits["train"].token_counts
    found = token_stats(wikitext2_corpus.tokenizer, counts)
    assert found.limits == (1_927, 193)
    assert TokenizerConfig().lowercase
    assert found.characters[wikitext2_corpus.tokenizer.token_to_id("@-@")] == 3
