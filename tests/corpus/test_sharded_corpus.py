"""A corpus in shards: cut at documents, written part by part, fetched into a bounded cache."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.registry import known_implementations
from hypothesis import given
from hypothesis import strategies as st

from bert_lightning.config import CorpusConfig, CorpusSource, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.shards import split as opening
from bert_lightning.corpus.shards.cache import ShardCache
from bert_lightning.corpus.shards.cutting import cuts, joined
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.shards.split import ShardedSplit, sample_of
from bert_lightning.corpus.shards.table import TABLE, FileRecord, read_table
from bert_lightning.corpus.shards.writing import add_part
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.errors import UserError

WORDS = TokenizerConfig(min_frequency=1)
ARRAYS = [name for name in Split.__dataclass_fields__ if name != "token_counts"]
TOKENS = 250
"""Of a shard."""


@pytest.fixture
def url(small_corpus: PreparedCorpus, request: pytest.FixtureRequest) -> str:
    """The small corpus in shards, in memory."""
    url = f"memory://{abs(hash(request.node.name))}"
    add_part(RemoteFolder(url), small_corpus, TOKENS)
    return url


@pytest.fixture
def data(url: str, tmp_path: Path) -> CorpusConfig:
    return CorpusConfig(CorpusSource.shards, path=url, cache_dir=str(tmp_path))


def refusal(data: CorpusConfig, tokenizer: TokenizerConfig = WORDS) -> str:
    with pytest.raises(UserError) as refused:
        prepare(data, tokenizer, PairsConfig())
    return str(refused.value)


def train_of(data: CorpusConfig) -> ShardedSplit:
    train = prepare(data, WORDS, PairsConfig()).splits["train"]
    assert isinstance(train, ShardedSplit)
    return train


@given(st.lists(st.integers(1, 20), min_size=2, max_size=60), st.integers(1, 100))
def test_cuts_lie_between_documents_and_no_shard_is_small(sizes: list[int], tokens: int) -> None:
    found = cuts(np.array(sizes), tokens)
    assert (found[0], found[-1]) == (0, len(sizes))
    assert all(end - start >= 2 for start, end in pairwise(found))
    shards = [sum(sizes[start:end]) for start, end in pairwise(found)]
    assert all(shard >= min(tokens, sum(sizes)) for shard in shards[:-1])
    assert 2 * shards[-1] >= min(tokens, sum(sizes))
    for start, end in pairwise(found[:-1]):
        assert sum(sizes[start : end - 1]) < tokens or end - start == 2


def test_the_shards_hold_the_corpus(small_corpus: PreparedCorpus, data: CorpusConfig) -> None:
    found = prepare(data, WORDS, PairsConfig())
    train, whole = train_of(data), small_corpus.splits["train"]
    together = joined(
        [train.shards.opened(number) for number in range(len(train.shards))],
        len(whole.token_counts),
    )
    assert len(train.shards) > 8
    for name in (*ARRAYS, "token_counts"):
        assert np.array_equal(getattr(together, name), getattr(whole, name)), name
        ours, theirs = (corpus.splits["validation"] for corpus in (found, small_corpus))
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert np.array_equal(train.token_counts, whole.token_counts)
    for what in ("documents", "paragraphs", "sentences", "pairs"):
        assert getattr(train, what) == getattr(whole, what)
    places = np.array([0, len(whole.token_ids) - 1, 300, 7, 300])
    assert np.array_equal(train.token_ids[places], whole.token_ids[places])
    assert found.tokenizer.to_str() == small_corpus.tokenizer.to_str()
    assert sample_of(train).pairs == max(shard.pairs for shard in train.shards.shards)
    assert sample_of(whole) is whole


def test_a_second_part_has_the_same_tokenizer_and_joins_both_splits(
    small_corpus: PreparedCorpus, small_data: CorpusConfig, data: CorpusConfig, tmp_path: Path
) -> None:
    first = prepare(data, WORDS, PairsConfig())
    text = tmp_path / "more.txt"
    text.write_text("\n\n".join(f"Lamp {n} is here. The river sees it." for n in range(20)))
    more = replace(small_data, path=str(text), cache_dir=str(tmp_path))
    remote = RemoteFolder(str(data.path))
    with pytest.raises(UserError, match="has shards of another tokenizer"):
        add_part(remote, prepare(more, WORDS, PairsConfig()), TOKENS)
    add_part(remote, prepare(more, WORDS, PairsConfig(), small_corpus.tokenizer), TOKENS)
    both = prepare(data, WORDS, PairsConfig())
    for split in ("train", "validation"):
        assert both.splits[split].documents > first.splits[split].documents
    assert both.key != first.key
    assert any("SHA-256" in change for change in both.differences(first.identity))
    with pytest.raises(UserError, match="has this text already"):
        add_part(remote, small_corpus, TOKENS)


@pytest.mark.parametrize("writes", [0, 1, 30, 10**9])
def test_an_interrupted_write_leaves_what_was_there(
    small_corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    remote, left = RemoteFolder(str(tmp_path / "corpus")), [writes]
    write = RemoteFolder.write

    def interrupted(self: RemoteFolder, name: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0 or (writes == 10**9 and name == TABLE):
            raise KeyboardInterrupt
        write(self, name, content)

    monkeypatch.setattr(RemoteFolder, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_part(remote, small_corpus, TOKENS)
    assert not remote.exists(TABLE)
    monkeypatch.setattr(RemoteFolder, "write", write)
    table = add_part(remote, small_corpus, TOKENS)
    assert read_table(remote, "data.path") == table
    names = {file.name for shard in table.shards("train") for file in shard.files.values()}
    assert all((tmp_path / "corpus" / name).is_file() for name in names)


def test_the_cache_keeps_its_limit_and_what_was_used_last(
    data: CorpusConfig, tmp_path: Path
) -> None:
    train = train_of(data)
    files = [file for shard in train.shards.shards for file in shard.files.values()]
    limit, folder = 3 * max(file.bytes for file in files), tmp_path / "small"
    cache = ShardCache(RemoteFolder(str(data.path)), folder, limit)
    for file in files:
        array = cache.array(file, np.dtype(np.uint8))
        assert len(array) == file.bytes
        assert sum(path.stat().st_size for path in folder.glob("*.bin")) <= limit
        assert (folder / f"{file.sha256}.bin").is_file()
    assert len([*folder.glob("*.bin")]) > 1


def spoiled(url: str, file: FileRecord) -> Callable[[], None]:
    """Flips a bit of a file in memory; returns what flips it back."""
    system, path = fsspec.core.url_to_fs(f"{url}/{file.name}")
    content = system.cat_file(path)
    system.pipe_file(path, bytes([content[0] ^ 1]) + content[1:])
    return lambda: system.pipe_file(path, content)


def test_a_corrupted_shard_is_fetched_twice_and_then_named(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = train_of(data)
    file = train.shards.shards[3].files["token_ids"]
    repaired = spoiled(str(data.path), file)
    fetched = []
    fetch = RemoteFolder.fetch

    def counted(self: RemoteFolder, name: str, target: Path) -> None:
        fetched.append(name)
        fetch(self, name, target)
        if len(fetched) == 3:
            repaired()

    monkeypatch.setattr(RemoteFolder, "fetch", counted)
    with pytest.raises(UserError, match=f"{file.name} of .* is not what was written"):
        train.shards.opened(3)
    assert fetched == [file.name] * 2
    train.shards.opened(3)  # corrupted once more, and then not
    assert fetched[:4] == [file.name] * 4
    assert not [*train.shards.cache.folder.glob("*.tmp")]


def test_a_missing_shard_is_named(data: CorpusConfig) -> None:
    train = train_of(data)
    name = train.shards.shards[3].files["token_ids"].name
    system, path = fsspec.core.url_to_fs(f"{data.path}/{name}")
    system.rm(path)
    with pytest.raises(UserError, match=f"{name} of .*: nothing is there"):
        train.shards.opened(3)


def test_bad_input_is_one_message(data: CorpusConfig, tmp_path: Path) -> None:
    assert "there is no shards.json" in refusal(replace(data, path="memory://nowhere"))
    assert "there is no shards.json" in refusal(replace(data, path=str(tmp_path)))
    assert "says where" in refusal(replace(data, path=None))
    assert "cannot be opened" in refusal(replace(data, path="nonsense://x"))
    assert "12 shards that training needs at a time" in refusal(replace(data, shard_cache_gb=1e-6))
    assert "tokenizer.lowercase=False, and" in refusal(data, TokenizerConfig(lowercase=False))
    prepare(data, TokenizerConfig(), PairsConfig())  # the defaults ask for nothing


def test_another_format_and_a_corrupted_table_are_refused(data: CorpusConfig) -> None:
    system, path = fsspec.core.url_to_fs(f"{data.path}/{TABLE}")
    content = json.loads(system.cat_file(path))
    for change, said in (
        ({"format": 9}, "format version 9, and this version of bert-lightning reads 1"),
        ({"id_type": "uint8"}, "shards.json is corrupted"),
    ):
        system.pipe_file(path, json.dumps({**content, **change}).encode())
        assert said in refusal(data)
    system.pipe_file(path, b"{")
    assert "shards.json is corrupted" in refusal(data)


def test_a_missing_driver_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"class": "absent_driver.FileSystem", "err": "Install it"}
    monkeypatch.setitem(known_implementations, "absent", known)
    with pytest.raises(UserError, match="pip install absent_driver"):
        RemoteFolder("absent://bucket/corpus")


def test_a_text_of_one_document_is_refused(small_corpus: PreparedCorpus) -> None:
    train = small_corpus.splits["train"]
    arrays = {name: getattr(train, name) for name in Split.__dataclass_fields__}
    one = Split(**{**arrays, "document_starts": train.document_starts[[0, -1]]})
    corpus = replace(small_corpus, splits={"train": one})
    with pytest.raises(UserError, match="has 1 document to train on, and a shard needs 2"):
        add_part(RemoteFolder("memory://one"), corpus, TOKENS)


def test_the_next_shards_are_fetched_meanwhile(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, threads = train_of(data), []

    class Thread(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            super().start()

    monkeypatch.setattr(opening.threading, "Thread", Thread)
    train.shards.fetch_ahead([5])
    threads[0].join()
    for file in train.shards.shards[5].files.values():
        assert (train.shards.cache.folder / f"{file.sha256}.bin").is_file()
