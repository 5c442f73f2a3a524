"""Statistics against counting by hand, leaks that are built in, and what the script prints."""

import math
import runpy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from bert_lightning.batch import IS_NEXT, IS_RANDOM, PretrainBatch, pack_sequences
from bert_lightning.config import BatchConfig, Format, PhaseConfig, TokenizerConfig
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.data import statistics as module
from bert_lightning.data.baselines import label_statistics, logistic_accuracy
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.pairs import Pairs
from bert_lightning.data.statistics import (
    DataStatistics,
    describe_examples,
    describe_split,
    lines,
    read_sentences,
    sentence_hashes,
    statistics,
    training_sample,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "inspect_data.py"
CapSys = pytest.CaptureFixture[str]
UNK, A, B, C = 1, 5, 6, 7
TRAIN = [[[[A, B], [A, B, C]]], [[[A, B], [UNK, C]], [[C, A]]]]
"""Documents of paragraphs of sentences of ids."""
HELD_OUT = [[[[A, B], [B, A]]], [[[C, A], [C, C]]]]


def split_of(documents: list[list[list[list[int]]]]) -> Split:
    def starts(lengths: Sequence[int]) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(lengths)])

    paragraphs = [paragraph for document in documents for paragraph in document]
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    return Split(
        np.concatenate(sentences).astype(np.uint16),
        np.ones(sum(map(len, sentences)), dtype=bool),
        starts([len(sentence) for sentence in sentences]),
        starts([len(paragraph) for paragraph in paragraphs]),
        starts([len(document) for document in documents]),
        np.bincount(np.concatenate(sentences)),
    )


def batch_of(first: Sequence[int], second: Sequence[int], labels: Sequence[int]) -> PretrainBatch:
    """Pairs whose halves have these lengths, with one predicted token each."""
    a, b = np.array(first), np.array(second)
    lengths = a + b + 3
    types = np.repeat(np.tile([0, 1], len(a)), np.stack([a + 2, b + 1], axis=1).ravel())
    places = torch.from_numpy(np.cumsum(lengths) - lengths + 1)
    return PretrainBatch(
        sequences=pack_sequences(np.full(lengths.sum(), A), types, lengths),
        masked_positions=places,
        masked_labels=torch.full_like(places, B),
        labels={"nsp": torch.tensor(labels)},
        global_counts={"mlm": len(a), "nsp": len(a)},
    )


def described(corpus: PreparedCorpus, batch: BatchConfig, seed: int) -> DataStatistics:
    validation = EvaluationSet(corpus, "validation", batch, corpus.tokenizer.get_vocab_size())
    return statistics(corpus, batch, seed, validation)


@pytest.fixture(scope="module")
def three_words() -> Tokenizer:
    tokenizer = build_tokenizer(["a a a b b c"], TokenizerConfig(min_frequency=1), Format.prose)
    assert [tokenizer.id_to_token(i) for i in (UNK, A, B, C)] == ["[UNK]", "a", "b", "c"]
    return tokenizer


def test_a_split_is_as_counted_by_hand(three_words: Tokenizer) -> None:
    found = asdict(describe_split(split_of(TRAIN), three_words, None))
    frequencies = [4 / 11, 3 / 11, 3 / 11, 1 / 11]
    assert found == {
        "documents": 2,
        "paragraphs": 3,
        "sentences": 5,
        "pairs": 2,
        "tokens": 11,
        "types": 3,
        "unknown_fraction": pytest.approx(1 / 11),
        "unigram_entropy": pytest.approx(-sum(p * math.log(p) for p in frequencies)),
        "mean_length": pytest.approx(11 / 5),
        "median_length": 2.0,
        "longest": 3,
        "duplicate_fraction": pytest.approx(1 / 5),
        "in_training_fraction": None,
        "sentences_read": 5,
    }


def test_held_out_sentences_are_looked_up_in_training(three_words: Tokenizer) -> None:
    known = sentence_hashes(*read_sentences(split_of(TRAIN)))
    found = describe_split(split_of(HELD_OUT), three_words, known)
    assert found.in_training_fraction == 0.5  # a b, c a; not b a, c c
    assert found.duplicate_fraction == 0


def test_a_hash_knows_order_length_and_empty_sentences() -> None:
    sentences = [[A, B], [B, A], [], [A], [A, A], [A, B, C], [A, B], []]
    lengths = np.array([len(sentence) for sentence in sentences])
    hashes = sentence_hashes(np.array([i for sentence in sentences for i in sentence]), lengths)
    assert hashes.shape == (8,)
    assert len(set(hashes.tolist())) == 6
    assert hashes[0] == hashes[6]
    assert hashes[2] == hashes[7]


def test_a_large_split_is_sampled_evenly_and_says_so(
    three_words: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SENTENCES", 3)
    token_ids, lengths = read_sentences(split_of(TRAIN))  # the first, the middle, the last
    assert (token_ids.tolist(), lengths.tolist()) == ([A, B, A, B, C, A], [2, 2, 2])
    found = describe_split(split_of(TRAIN), three_words, None)
    assert (found.sentences, found.sentences_read, found.tokens) == (5, 3, 11)


def test_examples_are_as_counted_by_hand() -> None:
    batches = [
        batch_of([1, 2], [1, 2], [IS_NEXT, IS_RANDOM]),  # 5 and 7 tokens
        batch_of([3, 10], [2, 7], [IS_NEXT, IS_NEXT]),  # 8 and 20
    ]
    found = asdict(describe_examples(batches, max_length=20))
    assert found == {
        "examples_read": 4,
        "max_length": 20,
        "mean_length": 10.0,
        "full_fraction": 0.25,
        "histogram": [0, 0, 1, 2, 0, 0, 0, 0, 0, 1],  # 1–2, 3–4, …, 19–20
        "bar_width": 2,
        "saved_of_max_length": pytest.approx(1 - 40 / 80),
        "saved_of_longest": pytest.approx(1 - 40 / (2 * 7 + 2 * 20)),
        "predicted_fraction": pytest.approx(4 / 40),
        "overlong_fraction": 0.0,  # pairs are counted elsewhere
    }


def pairs_of(first: Sequence[int], second: Sequence[int], labels: Sequence[int]) -> Pairs:
    nowhere = np.zeros(len(first), dtype=np.int64)
    return Pairs(nowhere, np.array(first), nowhere, np.array(second), np.array(labels))


def random_pairs(seed: int, label: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Pairs:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(1, 30, (2, 4000))
    return pairs_of(first, second, label(first, second).astype(int))


def test_labels_without_regard_to_length_cannot_be_told() -> None:
    rng = np.random.default_rng(0)

    def coin(first: np.ndarray, _: np.ndarray) -> np.ndarray:
        return rng.permuted(np.arange(len(first)) % 2)

    found = label_statistics(random_pairs(1, coin), random_pairs(2, coin))
    assert found is not None
    assert found.majority == 0.5
    assert found.pairs_read == 4000
    assert found.length_only_accuracy == pytest.approx(0.5, abs=0.03)
    assert not found.leak


@pytest.mark.parametrize(
    "rule",
    [
        lambda _, second: second > 15,
        lambda first, second: first > second,
        lambda first, second: np.maximum(first, second) > 2 * np.minimum(first, second),
        lambda first, second: first + second > 30,
    ],
    ids=["second", "longer", "unlike", "total"],
)
def test_labels_that_lengths_decide_leak(
    rule: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    found = label_statistics(random_pairs(1, rule), random_pairs(2, rule))
    assert found is not None
    assert found.length_only_accuracy > 0.95
    assert found.leak


def test_a_slightly_better_guess_on_few_pairs_is_no_leak() -> None:
    few = label_statistics(
        pairs_of([1, 9], [1, 9], [IS_NEXT, IS_RANDOM]),
        pairs_of([1, 1, 9, 9], [1, 1, 9, 9], [IS_NEXT, IS_RANDOM, IS_RANDOM, IS_RANDOM]),
    )
    assert few is not None
    assert (few.majority, few.length_only_accuracy, few.leak) == (0.75, 0.75, False)


def test_pairs_without_labels_have_no_baseline() -> None:
    unlabeled = pairs_of([1, 2], [1, 2], [-100, -100])
    assert label_statistics(unlabeled, unlabeled) is None


def test_a_constant_feature_does_no_harm() -> None:
    x = np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    y = np.array([False, False, True, True])
    assert logistic_accuracy(x, y, x, y) == 1


def test_a_whole_corpus_against_slow_counting(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    def sentences(name: str) -> list[tuple[int, ...]]:
        split = small_corpus.splits[name]
        starts, ids = split.sentence_starts.tolist(), split.token_ids.tolist()
        return [tuple(ids[a:b]) for a, b in pairwise(starts)]

    found = described(small_corpus, small_batch, seed=3)
    assert list(found.splits) == list(small_corpus.splits)
    for name, split in found.splits.items():
        everything = sentences(name)
        assert split.sentences == len(everything)
        assert split.duplicate_fraction == pytest.approx(1 - len(set(everything)) / len(everything))
        ids = [token for sentence in everything for token in sentence]
        assert split.types == len(set(ids) - {UNK})
        assert split.unknown_fraction == pytest.approx(ids.count(UNK) / len(ids))
    known, held_out = set(sentences("train")), sentences("validation")
    fraction = sum(sentence in known for sentence in held_out) / len(held_out)
    assert found.splits["validation"].in_training_fraction == fraction
    assert found.examples.examples_read == sum(
        len(batch.nsp_labels) for batch in training_sample(small_corpus, small_batch, 3)
    )
    assert found.examples.examples_read <= small_corpus.splits["train"].pairs
    assert found.labels is not None
    assert found.labels.pairs_read == small_corpus.splits["validation"].pairs
    assert described(small_corpus, small_batch, seed=3) == found
    text, examples = lines(found)
    assert f"{len(sentences('train')):,} sentences" in text
    assert f"{fraction:.1%} of validation's also in training" in text
    assert f"{found.labels.majority:.1%}" in examples


def test_each_phase_has_examples_of_its_own_length(
    small_corpus: PreparedCorpus, small_batch: BatchConfig
) -> None:
    phases = [PhaseConfig(0.5, max_length=9, global_batch_size=8), PhaseConfig(0.5)]
    plain = described(small_corpus, small_batch, seed=3)
    found = described(small_corpus, replace(small_batch, phases=phases), seed=3)
    short = replace(small_batch, max_length=9, global_batch_size=8)
    assert found.phases == [described(small_corpus, short, seed=3).examples, plain.examples]
    assert replace(found, phases=[]) == plain
    assert [line for line in lines(found) if line not in lines(plain)] == [
        f"examples of phase {number}: {each.mean_length:.0f} tokens of at most {most}, "
        f"{each.full_fraction:.1%} full; padding saved {each.saved_of_max_length:.0%}"
        for number, (each, most) in enumerate(zip(found.phases, (9, 24), strict=True), 1)
    ]


@pytest.mark.slow
def test_wikitext2_is_counted_within_a_second(wikitext2_corpus: PreparedCorpus) -> None:
    start = time.process_time()
    found = described(wikitext2_corpus, BatchConfig(global_batch_size=512), seed=0)
    assert time.process_time() - start < 3  # 0.4 s; the rest is for a busy machine
    assert found.splits["train"].documents == 612
    assert found.examples.saved_of_max_length == pytest.approx(0.575, abs=0.01)
    assert found.labels is not None
    assert 0.5 < found.labels.length_only_accuracy < 0.56
    assert not found.labels.leak


@pytest.fixture
def notes(tmp_path: Path) -> str:
    """Six documents of six paragraphs of three sentences, all alike but for one word."""
    for topic in ("crane", "river", "bridge", "lamp", "garden", "letter"):
        paragraph = f"The {topic} is here. It was there. Nobody saw the {topic} move."
        (tmp_path / f"{topic}.txt").write_text("\n".join([paragraph] * 6), encoding="utf-8")
    return f"data.path={tmp_path}"


def inspect(*arguments: str) -> None:
    runpy.run_path(str(SCRIPT))["main"](list(arguments))


def test_the_script_shows_all_of_it(notes: str, cache_dir: str, capsys: CapSys) -> None:
    options = ["data=text", notes, f"data.cache_dir={cache_dir}", "batch.max_length=16"]
    inspect(*options, "--examples", "2", "tokenizer.min_frequency=1")
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["train", "validation"] in rows
    assert ["documents", "4", "2"] in rows
    assert ["sentences", "72", "36"] in rows
    assert ["sentence", "pairs", "48", "24"] in rows
    # 5 + 4 + 6 tokens a paragraph, the periods included
    assert ["tokens", "360", "180"] in rows
    assert ["duplicate", "sentences", "87.5%", "91.7%"] in rows  # 9 and, with unknown topics, 3
    assert ["sentences", "also", "in", "training", "33.3%"] in rows  # "It was there."
    assert "Tokens of 48 training examples" in out
    assert "padding saved" in out
    assert "pair labels: length-only" in out
    assert out.count("[CLS]") == 2
    assert out.count("[SEP]") == 4
    assert "[MASK](" in out.partition("second half")[2]
    assert out.count("is next: [CLS]") + out.count("random:  [CLS]") == 2


def test_the_script_without_a_validation_split(notes: str, cache_dir: str, capsys: CapSys) -> None:
    options = ["data=text", notes, f"data.cache_dir={cache_dir}", "data.validation_fraction=0"]
    inspect(*options, "--examples=0")
    out = capsys.readouterr().out
    assert "Baselines" not in out
    assert "[CLS]" not in out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=txt"], "unknown data 'txt'; choose from builtin, "),
        (["data=text", "batch.max_length=many"], "expects an integer"),
        (["data=text"], "data=text needs the text"),
        (["dta=text"], "did you mean 'data'?"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    overrides: list[str], message: str, capsys: CapSys
) -> None:
    with pytest.raises(SystemExit) as caught:
        inspect(*overrides)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("error: ") == 1


def test_the_script_shows_the_lengths_of_each_phase(
    notes: str, cache_dir: str, capsys: CapSys
) -> None:
    options = ["data=text", notes, f"data.cache_dir={cache_dir}", "batch.max_length=16"]
    inspect(
        *options, "batch.phases=[{fraction: 0.9, max_length: 8}, {fraction: 0.1}]", "--examples=9"
    )
    out = capsys.readouterr().out
    assert "Tokens of 48 training examples in phase 1" in out
    assert "have 8;" in out
    assert "Tokens of 48 training examples in phase 2" in out
    assert "have 16;" in out
    shown = [line.split() for line in out.splitlines() if "[CLS]" in line]
    assert len(shown) == 9
    assert max(len(words) for words in shown) == 8 + 2  # with "is next:", of the first phase


def test_the_script_without_pairs(notes: str, cache_dir: str, capsys: CapSys) -> None:
    options = ["data=text", notes, f"data.cache_dir={cache_dir}", "tokenizer.min_frequency=1"]
    inspect(*options, "pairs=none", "--examples=1")
    out = capsys.readouterr().out
    assert "pair labels" not in out
    assert "block:   [CLS]" in out
    assert out.partition("block:")[2].count("[SEP]") == 1
