"""The baselines against slow counting."""

import math
from collections import Counter

import numpy as np
import pytest

from bert_lightning.config import BatchConfig, CorpusConfig, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.baselines import unigram_nll
from bert_lightning.data.evaluation_set import EvaluationBatches, EvaluationSet


def test_baselines_are_those_of_slow_counting(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    size = small_corpus.tokenizer.get_vocab_size() + 3
    held_out = EvaluationBatches(small_corpus, "validation", small_batch, 7)
    batches = [held_out[i] for i in range(len(held_out))]
    labels = [label for batch in batches for label in batch.masked_labels.tolist()]
    nsp = [label for batch in batches for label in batch.nsp_labels.tolist()]

    train = small_corpus.splits["train"]
    counts = Counter(train.token_ids.tolist())
    total = sum(counts.values()) + size
    mlm_loss = -sum(math.log((counts[label] + 1) / total) for label in labels) / len(labels)
    (most_frequent, _), *_ = counts.most_common(1)
    fraction = sum(nsp) / len(nsp)

    result = EvaluationSet(small_corpus, "validation", small_batch, size).baselines
    assert result.mlm_loss == pytest.approx(mlm_loss, rel=1e-12)
    assert result.mlm_accuracy == pytest.approx(labels.count(most_frequent) / len(labels))
    unknown = small_corpus.tokenizer.token_to_id("[UNK]")
    known = [label for label in labels if label != unknown]
    assert result.mlm_accuracy_known == pytest.approx(known.count(most_frequent) / len(known))
    assert result.nsp_loss == pytest.approx(
        -fraction * math.log(fraction) - (1 - fraction) * math.log(1 - fraction)
    )
    assert result.nsp_accuracy == pytest.approx(max(fraction, 1 - fraction))


def test_without_unknown_words_the_most_frequent_other_token_is_the_baseline(
    small_data: CorpusConfig, small_batch: BatchConfig
) -> None:
    """With few words in the vocabulary, [UNK] is the most frequent token."""
    corpus = prepare(small_data, TokenizerConfig(vocab_size=8), PairsConfig())
    train = Counter(corpus.splits["train"].token_ids.tolist())
    (first, _), (second, _), *_ = train.most_common(2)
    assert first == corpus.tokenizer.token_to_id("[UNK]")
    held_out = EvaluationSet(corpus, "validation", small_batch, 8)
    labels = held_out.contents.masked_labels.tolist()
    result = held_out.baselines
    assert result.mlm_accuracy == pytest.approx(labels.count(first) / len(labels))
    known = [label for label in labels if label != first]
    assert result.mlm_accuracy_known == pytest.approx(known.count(second) / len(known))


def test_the_unigram_baseline_is_a_distribution() -> None:
    nll = unigram_nll(np.array([0, 3, 1]))
    assert np.exp(-nll).tolist() == pytest.approx([1 / 7, 4 / 7, 2 / 7])


@pytest.mark.slow
def test_wikitext2_has_its_known_baselines(wikitext2_corpus: PreparedCorpus) -> None:
    result = EvaluationSet(wikitext2_corpus, "validation", BatchConfig(), 20_256).baselines
    assert result.mlm_loss == pytest.approx(6.69, abs=0.02)
    assert result.nsp_accuracy == pytest.approx(0.503, abs=0.0005)
    assert result.nsp_loss == pytest.approx(math.log(2), abs=1e-4)
    assert 0.05 < result.mlm_accuracy < 0.10
