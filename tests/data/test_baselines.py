"""The floors against slow counting, and WikiText-2's known values."""

import math
from collections import Counter

import numpy as np
import pytest

from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data import baselines as module
from bert_lightning.data.baselines import baselines, count_tokens, unigram_nll
from bert_lightning.data.evaluation_set import EvaluationBatches


def test_floors_are_those_of_slow_counting(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    size = small_corpus.tokenizer.get_vocab_size()
    held_out = EvaluationBatches(small_corpus, "validation", small_batch, 7)
    batches = [held_out[i] for i in range(len(held_out))]
    labels = [label for batch in batches for label in batch.masked_labels.tolist()]
    nsp = [label for batch in batches for label in batch.nsp_labels.tolist()]

    train = small_corpus.splits["train"]
    counts = Counter(train.token_ids.tolist())
    total = sum(counts.values()) + size
    mlm_loss = -sum(math.log((counts[label] + 1) / total) for label in labels) / len(labels)
    (commonest, _), *_ = counts.most_common(1)
    share = sum(nsp) / len(nsp)

    result = baselines(train, held_out, size)
    assert result.mlm_loss == pytest.approx(mlm_loss, rel=1e-12)
    assert result.mlm_accuracy == pytest.approx(labels.count(commonest) / len(labels))
    assert result.nsp_loss == pytest.approx(
        -share * math.log(share) - (1 - share) * math.log(1 - share)
    )
    assert result.nsp_accuracy == pytest.approx(max(share, 1 - share))


def test_tokens_are_counted_a_chunk_at_a_time(
    small_corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, size = small_corpus.splits["train"], small_corpus.tokenizer.get_vocab_size() + 3
    monkeypatch.setattr(module, "_CHUNK", 7)
    counted = Counter(train.token_ids.tolist())
    assert count_tokens(train, size).tolist() == [counted[token] for token in range(size)]


def test_what_words_cost_by_their_frequency_is_a_distribution() -> None:
    nll = unigram_nll(np.array([0, 3, 1]))
    assert np.exp(-nll).tolist() == pytest.approx([1 / 7, 4 / 7, 2 / 7])


def test_wikitext2_has_its_known_floors(wikitext2_corpus: PreparedCorpus) -> None:
    held_out = EvaluationBatches(wikitext2_corpus, "validation", BatchConfig(), 512)
    result = baselines(wikitext2_corpus.splits["train"], held_out, 20_256)
    assert result.mlm_loss == pytest.approx(6.69, abs=0.02)
    assert result.nsp_accuracy == pytest.approx(0.503, abs=0.0005)
    assert result.nsp_loss == pytest.approx(math.log(2), abs=1e-4)
    assert 0.05 < result.mlm_accuracy < 0.10
