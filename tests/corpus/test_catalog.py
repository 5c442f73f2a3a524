"""The catalog lists prepared corpora, and removes them beside running builds."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from bert_lightning.config import CorpusConfig, PairsConfig, TokenizerConfig
from bert_lightning.corpus import catalog
from bert_lightning.corpus.catalog import cache_folder, list_corpora, lock_of, remove, total_size
from bert_lightning.corpus.manifest import CORPUS_FORMAT
from bert_lightning.corpus.prepare import prepare

WORDS, PAIRS = TokenizerConfig(min_frequency=1), PairsConfig()
DAY = 24 * 60 * 60


@pytest.fixture
def data(small_data: CorpusConfig, tmp_path: Path) -> CorpusConfig:
    return replace(small_data, cache_dir=str(tmp_path / "cache"))


def test_a_corpus_is_listed_with_its_facts(data: CorpusConfig) -> None:
    assert list_corpora(cache_folder(data)) == []
    prepared = prepare(data, WORDS, PAIRS)
    (entry,) = list_corpora(cache_folder(data))
    assert (entry.name, entry.origin) == (prepared.name, prepared.origin)
    assert entry.tokens == sum(len(split.token_ids) for split in prepared.splits.values())
    files = [file for file in entry.folder.rglob("*") if file.is_file()]
    assert entry.bytes == sum(file.stat().st_size for file in files)
    assert entry.usable
    assert 0 <= time.time() - entry.built < 600
    assert entry.built <= entry.last_used + 1
    assert total_size([replace(entry, bytes=3_499_999)]) == "3 MB"


def test_opening_a_corpus_is_its_last_use(data: CorpusConfig) -> None:
    prepare(data, WORDS, PAIRS)
    prepare(replace(data, min_sentences=1), WORDS, PAIRS)
    for days, entry in enumerate(list_corpora(cache_folder(data)), 8):
        os.utime(entry.folder / "manifest.json", times=(0, time.time() - days * DAY))
    newer, older = list_corpora(cache_folder(data))
    assert newer.unused_for(7.9)
    assert not newer.unused_for(8.1)
    prepare(data, WORDS, PAIRS)
    used, unused = list_corpora(cache_folder(data))
    assert (used.unused_for(1), unused.unused_for(1)) == (False, True)
    assert {used.folder, unused.folder} == {newer.folder, older.folder}


def test_a_removed_corpus_is_gone_and_built_again(data: CorpusConfig) -> None:
    first = prepare(data, WORDS, PAIRS)
    (entry,) = list_corpora(cache_folder(data))
    assert remove(entry)
    assert not entry.folder.exists()
    assert list_corpora(cache_folder(data)) == []
    assert first.splits["train"].token_ids.sum() > 0, "an open corpus stays readable"
    again = prepare(data, WORDS, PAIRS)
    assert np.array_equal(again.splits["train"].token_ids, first.splits["train"].token_ids)


def test_a_corpus_that_is_being_built_is_not_removed(data: CorpusConfig) -> None:
    prepare(data, WORDS, PAIRS)
    (entry,) = list_corpora(cache_folder(data))
    with FileLock(lock_of(entry.folder)):
        assert not remove(entry)
    assert entry.folder.is_dir()


def test_corpora_of_other_versions_and_corrupted_ones_are_listed(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(data, WORDS, PAIRS)
    with monkeypatch.context() as patched:
        patched.setattr(catalog, "CORPUS_FORMAT", 99)
        (entry,) = list_corpora(cache_folder(data))
        assert (entry.format, entry.usable) == (CORPUS_FORMAT, False)
    manifest = entry.folder / "manifest.json"
    manifest.write_text(manifest.read_text()[:-9])
    (entry,) = list_corpora(cache_folder(data))
    assert (entry.name, entry.format, entry.usable, entry.tokens) == ("text", None, False, 0)
    assert remove(entry)


def test_nothing_else_in_the_folder_is_taken_for_a_corpus(data: CorpusConfig) -> None:
    cache = cache_folder(data)
    for name in ("notes", "notes-0123456789abcdef", "text-0123456789abcdef.tmp"):
        (cache / name).mkdir(parents=True)
        (cache / name / "manifest.json").write_text("{}")
    (cache / "notes" / "tokenizer.json").write_text("{}")
    (cache / "text-0123456789abcdef.tmp" / "tokenizer.json").write_text("{}")
    assert list_corpora(cache) == []
