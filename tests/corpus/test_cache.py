"""Hashes of text files: read again where a file may have changed, and only there."""

import json
import os
from pathlib import Path

import pytest
from bert_lightning.corpus.cache import hash_file, hash_text_files

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus import cache


@pytest.fixture
def data(tmp_path: Path) -> CorpusConfig:
    return CorpusConfig(cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files that have been as they are for a while, by the clock that is looked at."""
    made = [tmp_path / name for name in ("a.txt", "b.txt")]
    for file in made:
        file.write_text(f"The text of {file.name}.")
    return made


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, each text being a large one, and settled."""
    names: list[str] = []

    def noted(file: Path) -> str:
        names.append(file.name)
        return hash_file(file)

    monkeypatch.setattr(cache, "hash_file", noted)
    monkeypatch.setattr(cache, "ALWAYS_HASHED", 0)
    monkeypatch.setattr(cache, "_SETTLED_NS", -(10**12))
    return names


def test_large_files_are_read_once(files: list[Path], data: CorpusConfig, read: list[str]) -> None:
    first = hash_text_files(files, data)
    assert first == [hash_file(file) for file in files]
    assert hash_text_files(files, data) == first
    assert hash_text_files(files[1:], data) == first[1:]
    assert read == ["a.txt", "b.txt"]


def test_small_files_are_always_read(
    files: list[Path], data: CorpusConfig, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ALWAYS_HASHED", 1000)
    assert hash_text_files(files, data) == hash_text_files(files, data)
    assert read == ["a.txt", "b.txt"] * 2
    assert not cache.cache_folder(data).exists()


@pytest.mark.parametrize("kept", ["nothing", "size", "size and time", "size, time and name"])
def test_an_edit_is_seen_whatever_it_keeps(
    files: list[Path], data: CorpusConfig, kept: str
) -> None:
    first = hash_text_files(files, data)
    before = files[0].stat()
    text = files[0].read_text().upper()
    if "name" in kept:  # as editors save: another file takes the name
        aside = files[0].with_suffix(".new")
        aside.write_text(text)
        aside.replace(files[0])
    else:
        files[0].write_text(text if "size" in kept else text + "More.")
    if "time" in kept:
        os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
        assert files[0].stat().st_mtime_ns == before.st_mtime_ns
    second = hash_text_files(files, data)
    assert second[0] == hash_file(files[0]) != first[0]
    assert second[1] == first[1]


def test_a_file_that_has_just_changed_is_not_remembered(
    files: list[Path], data: CorpusConfig, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_SETTLED_NS", 10**12)
    hash_text_files(files, data)
    hash_text_files(files, data)
    assert read == ["a.txt", "b.txt"] * 2


@pytest.mark.parametrize("damage", ["", "[]", '{"a": 1', '{"PATH": 7}'])
def test_a_damaged_memory_is_none(
    files: list[Path], data: CorpusConfig, read: list[str], damage: str
) -> None:
    first = hash_text_files(files, data)
    (memory,) = cache.cache_folder(data).iterdir()
    memory.write_text(damage.replace("PATH", str(files[0])))
    assert hash_text_files(files, data) == first
    assert len(read) == 4
    assert len(json.loads(memory.read_text())) == 2


def test_a_cache_that_cannot_be_written_is_no_error(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    data = CorpusConfig(cache_dir=str(tmp_path / "file" / "cache"))
    assert hash_text_files(files, data) == [hash_file(file) for file in files]
