"""What differs between two prepared corpora is said in words."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bert_lightning.config import CorpusConfig, PairKind, PairsConfig, TokenizerConfig
from bert_lightning.config.affects import PLACE, TEXT, TOKENS, named
from bert_lightning.corpus.manifest import CORPUS_FORMAT, describe_difference, identity_of
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.sources import find_source
from bert_lightning.corpus.store import PreparedCorpus

WORDS, PAIRS = TokenizerConfig(min_frequency=1), PairsConfig()


@pytest.fixture
def data(small_data: CorpusConfig, tmp_path: Path) -> CorpusConfig:
    """Two files of the small text, in a folder that may be changed."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes((Path(str(small_data.path)) / name).read_bytes())
    return replace(small_data, path=str(tmp_path), cache_dir=str(tmp_path / "cache"))


def difference(old: PreparedCorpus, new: PreparedCorpus) -> list[str]:
    return describe_difference(old.identity, new.identity)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda data: (replace(data, min_sentences=3), WORDS, PAIRS),
            "data.min_sentences=3, and it was 2",
        ),
        (
            lambda data: (replace(data, validation_fraction=0.3), WORDS, PAIRS),
            "data.validation_fraction=0.3, and it was 0.2",
        ),
        (
            lambda data: (data, TokenizerConfig(min_frequency=2), PAIRS),
            "tokenizer.min_frequency=2, and it was 1",
        ),
        (
            lambda data: (data, WORDS, PairsConfig(PairKind.none)),
            "each split needs 1 documents (batch.pairs), and it needed 2",
        ),
    ],
    ids=["option", "split", "tokenizer", "pairs"],
)
def test_an_option_is_named_with_both_values(
    data: CorpusConfig,
    change: Callable[[CorpusConfig], tuple[CorpusConfig, TokenizerConfig, PairsConfig]],
    says: str,
) -> None:
    old, new = prepare(data, WORDS, PAIRS), prepare(*change(data))
    assert old.key != new.key
    assert says in difference(old, new)
    assert difference(old, old) == []


def test_a_changed_text_is_told_with_its_counts(data: CorpusConfig) -> None:
    old = prepare(data, WORDS, PAIRS)
    file = Path(str(data.path)) / "a.txt"
    file.write_text(file.read_text() + "\n\nOne more is here. It ends the file.\n")
    new = prepare(data, WORDS, PAIRS)
    text, *counts = difference(old, new)
    assert text.startswith("the text is another: 2 files, SHA-256 ")
    tokens = len(new.splits["train"].token_ids), len(old.splits["train"].token_ids)
    documents = new.splits["train"].documents, old.splits["train"].documents
    assert (
        f"its train split has {documents[0]} documents and {tokens[0]:,} tokens, and it had "
        f"{documents[1]} and {tokens[1]:,}"
    ) in counts


def test_a_moved_text_is_the_same_corpus(data: CorpusConfig, tmp_path: Path) -> None:
    old = prepare(data, WORDS, PAIRS)
    (tmp_path / "moved").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    new = prepare(replace(data, path=str(tmp_path / "moved"), name="other"), WORDS, PAIRS)
    assert new.key == old.key
    assert difference(old, new) == []


def test_another_kind_of_source_version_and_base_are_told(data: CorpusConfig) -> None:
    corpus = prepare(data, WORDS, PAIRS)
    new = {**corpus.identity, "format": 99, "tokenizer_base": "0" * 64}
    new["source"] = {**corpus.identity["source"], "kind": "hub", "splitter_version": "other"}
    assert describe_difference(corpus.identity, new) == [
        f"the format version of prepared corpora is 99, and it was {CORPUS_FORMAT}",
        "the text comes from the Hugging Face hub, and it came from files",
        "the code that splits sentences (data.sentences) has changed",
        "the existing tokenizer that it builds on is another",
    ]


def test_each_option_that_affects_the_text_is_in_some_identity(data: CorpusConfig) -> None:
    """One that is in none must be known to change nothing, or a stale corpus would be used."""
    hub = CorpusConfig(cache_dir=data.cache_dir)
    found: set[str] = set()
    for config in (data, hub):
        identity = identity_of(find_source(config, 2).fingerprint, WORDS, None)
        found |= {*identity["source"]["options"], *identity["tokenizer"]}
    affecting = {f"data.{name}" for name in named(CorpusConfig, TEXT)}
    affecting |= {f"tokenizer.{name}" for name in named(TokenizerConfig, TOKENS)}
    places = {f"data.{name}" for name in named(CorpusConfig, PLACE)}
    places |= {f"tokenizer.{name}" for name in named(TokenizerConfig, PLACE)}
    chooses = {f"data.{name}" for name in ("source", "name", "fallback", "streaming")}
    assert found == affecting - places - chooses
