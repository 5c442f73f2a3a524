"""Hashes of text files: a file is read again if it may have changed, and only then."""

import json
import os
from pathlib import Path

import pytest

from bert_lightning.corpus import fingerprints
from bert_lightning.corpus.fingerprints import hash_file, hash_text_files


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files that have not changed for a while, by the clock of the file system."""
    made = [tmp_path / name for name in ("a.txt", "b.txt")]
    for file in made:
        file.write_text(f"The text of {file.name}.")
    return made


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read; each text counts as a large one, and as settled."""
    names: list[str] = []

    def noted(file: Path) -> str:
        names.append(file.name)
        return hash_file(file)

    monkeypatch.setattr(fingerprints, "hash_file", noted)
    monkeypatch.setattr(fingerprints, "ALWAYS_HASHED", 0)
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", -(10**12))
    return names


def test_large_files_are_read_once(files: list[Path], cache: Path, read: list[str]) -> None:
    first = hash_text_files(files, cache)
    assert first == [hash_file(file) for file in files]
    assert hash_text_files(files, cache) == first
    assert hash_text_files(files[1:], cache) == first[1:]
    assert read == ["a.txt", "b.txt"]


def test_small_files_are_always_read(
    files: list[Path], cache: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "ALWAYS_HASHED", 1000)
    assert hash_text_files(files, cache) == hash_text_files(files, cache)
    assert read == ["a.txt", "b.txt"] * 2
    assert not cache.exists()


@pytest.mark.parametrize("kept", ["nothing", "size", "size and time", "size, time and name"])
def test_an_edit_is_noticed_whatever_it_keeps(files: list[Path], cache: Path, kept: str) -> None:
    first = hash_text_files(files, cache)
    before = files[0].stat()
    text = files[0].read_text().upper()
    if "name" in kept:  # as editors save: another file takes the name
        temporary = files[0].with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(files[0])
    else:
        files[0].write_text(text if "size" in kept else text + "More.")
    if "time" in kept:
        os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
        assert files[0].stat().st_mtime_ns == before.st_mtime_ns
    second = hash_text_files(files, cache)
    assert second[0] == hash_file(files[0]) != first[0]
    assert second[1] == first[1]


def test_a_file_that_has_just_changed_is_not_remembered(
    files: list[Path], cache: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", 10**12)
    hash_text_files(files, cache)
    hash_text_files(files, cache)
    assert read == ["a.txt", "b.txt"] * 2


@pytest.mark.parametrize("damage", ["", "[]", '{"a": 1', '{"PATH": 7}'])
def test_a_corrupted_memory_is_ignored(
    files: list[Path], cache: Path, read: list[str], damage: str
) -> None:
    first = hash_text_files(files, cache)
    (memory,) = cache.iterdir()
    memory.write_text(damage.replace("PATH", str(files[0])))
    assert hash_text_files(files, cache) == first
    assert len(read) == 4
    assert len(json.loads(memory.read_text())) == 2


def test_a_cache_that_cannot_be_written_is_no_error(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "cache"
    assert hash_text_files(files, cache) == [hash_file(file) for file in files]
