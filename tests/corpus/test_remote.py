"""Text at addresses, by fsspec's memory file system: files, folders, patterns, identity."""

import bz2
import gzip
import pickle
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from reading import config_of, documents_of, read, refusal

from bert_lightning.config import PairKind, PairsConfig, TokenizerConfig
from bert_lightning.corpus import fingerprints
from bert_lightning.corpus.fingerprints import hash_text_files
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers.find_files import find_text_files
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.storage.meter import METER
from bert_lightning.corpus.readers.storage.opening import opened
from bert_lightning.corpus.readers.storage.remote import RemoteFile
from bert_lightning.corpus.sources import find_source

HOME = "memory://texts"


@pytest.fixture
def memory() -> Iterator[Any]:
    """The memory file system with a few texts, which is emptied afterwards."""
    system = fsspec.filesystem("memory")
    texts = {
        "a.txt": b"A b. C d.\n",
        "sub/b.txt.gz": gzip.compress(b"E f. G h.\n"),
        "sub/deep/c.jsonl": b'{"text": "I j. K l."}\n',
        "sub/deep/d.csv.bz2": bz2.compress(b"n,text\n1,M n. O p.\n"),
        "sub/wiki_00": b'<doc id="1">\nQ r. S t.\n</doc>\n',
        "sub/e.md": b"U v.\n",
        "sub/.hidden/f.txt": b"W x.\n",
    }
    for path, content in texts.items():
        system.pipe(f"/texts/{path}", content)
    yield system
    system.rm("/texts", recursive=True)


def firsts(path: str) -> str:
    return "".join(document[0][0][0] for document in documents_of(path))


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", "AEIMQ"),
        ("/", "AEIMQ"),
        ("/sub/deep", "IM"),
        ("/sub/e.md", "U"),
        ("/*", "AEIMQ"),
        ("/sub/*", "EIMQU"),
        ("/**/*.txt*", "AE"),
        ("/sub/deep/c.json?", "I"),
        ("/sub/.hidden/f.txt", "W"),
    ],
)
def test_files_folders_and_patterns_are_read(path: str, found: str) -> None:
    assert sorted(firsts(HOME + path)) == sorted(found)


@pytest.mark.usefixtures("memory")
def test_what_is_left_out_is_counted_as_on_a_disk() -> None:
    assert read(HOME)[1] == {"hidden files and folders": 1, "files of other kinds": 1}


def test_the_text_is_that_of_local_files(memory: Any, tmp_path: Path) -> None:
    """In key too: an address is a place, and no text."""
    memory.get("/texts", str(tmp_path / "texts"), recursive=True)
    local, remote = str(tmp_path / "texts"), HOME
    assert read(local) == read(remote)
    keys = [find_source(config_of(path), 1).fingerprint for path in (local, remote)]
    assert keys[0] == keys[1]


@pytest.mark.usefixtures("memory")
def test_a_corpus_is_prepared_from_an_address(tmp_path: Path) -> None:
    data = config_of(HOME, cache_dir=str(tmp_path))
    before = METER.position()
    corpus = prepare(data, TokenizerConfig(min_frequency=1), PairsConfig(PairKind.none))
    assert corpus.origin == f"{HOME} (5 files)"
    assert corpus.splits["train"].documents == 5
    assert METER.position() > before


@pytest.mark.usefixtures("memory")
def test_a_file_can_be_pickled_and_sought() -> None:
    (file,) = find_text_files(config_of(f"{HOME}/a.txt"), LeftOut())
    copy = pickle.loads(pickle.dumps(file))
    assert copy == file
    with opened(copy.path) as stream:
        stream.seek(5)
        assert stream.read(2) == b"C "


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("memory://nowhere/a.txt", "nothing is there; give the address"),
        ("memory://nowhere/*.txt", "nothing is there; give the address"),
        ("nothing://a", "Protocol not known: nothing; s3://BUCKET/FOLDER, gs://"),
        ("file:///notes/a.txt", "give the path alone: data.path=/notes/a.txt"),
    ],
)
def test_an_address_that_names_no_text_is_refused(address: str, says: str) -> None:
    assert f"data.path={address}: {says}" in refusal(address)


@pytest.mark.parametrize(
    ("protocol", "driver"), [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")]
)
def test_a_missing_driver_is_named(
    monkeypatch: pytest.MonkeyPatch, protocol: str, driver: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    message = refusal(f"{protocol}://bucket/folder")
    assert f"{protocol}:// needs a driver of fsspec: pip install {driver}" in message


@pytest.mark.parametrize("method", ["info", "open", "find"])
def test_an_error_of_the_storage_is_one_message(
    memory: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    class NoCredentialsError(Exception):  # as drivers have of their own
        pass

    def fail(*_: Any, **__: Any) -> None:
        raise NoCredentialsError("no credentials\nof any kind")

    with monkeypatch.context() as patched:  # the fixture needs the method again
        patched.setattr(type(memory), method, fail)
        assert "cannot be read: NoCredentialsError: no credentials" in refusal(HOME)


class Storage:
    """What an object storage tells of a file."""

    def __init__(self, **told: Any) -> None:
        self.content, self.told, self.opened = b"A b.", told, 0

    def open(self, path: str, mode: str) -> Any:
        self.opened += 1
        return fsspec.implementations.memory.MemoryFile(None, path, self.content)

    def info(self, path: str) -> dict[str, Any]:
        return {"name": path, "size": len(self.content), "type": "file", **self.told}

    def unstrip_protocol(self, path: str) -> str:
        return f"storage://{path}"


@pytest.mark.parametrize(
    ("told", "read_again"),
    [
        ({"ETag": '"1f"'}, 0),
        ({"md5Hash": "1f", "updated": "2020-01-01T00:00:00Z"}, 0),
        ({"LastModified": datetime(2020, 1, 1, tzinfo=UTC)}, 0),
        ({"mtime": 1.5e9}, 0),
        ({"mtime": 9e9}, 1),  # a moment ago, or a clock that is wrong
        ({"modified": "yesterday"}, 1),
        ({"created": 1.5e9}, 1),
        ({}, 1),
    ],
)
def test_the_hash_of_a_large_file_is_remembered_by_what_its_storage_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], read_again: int
) -> None:
    monkeypatch.setattr(fingerprints, "ALWAYS_HASHED", 0)
    storage = Storage(**told)
    file = RemoteFile(storage, "b/a.txt", 4)
    first = hash_text_files([file], tmp_path)
    assert hash_text_files([file], tmp_path) == first
    assert storage.opened == 1 + read_again


def test_another_hash_of_the_storage_is_another_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "ALWAYS_HASHED", 0)
    storage = Storage(ETag="1")
    first = hash_text_files([RemoteFile(storage, "b/a.txt", 4)], tmp_path)
    storage.content, storage.told = b"C d.", {"ETag": "2"}
    assert hash_text_files([RemoteFile(storage, "b/a.txt", 4)], tmp_path) != first
