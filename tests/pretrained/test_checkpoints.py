"""Which checkpoint a path means, and what is refused as one."""

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from bert_lightning.errors import UserError
from bert_lightning.pretrained.checkpoints import (
    CHECKPOINT_FORMAT,
    CorruptCheckpointError,
    find_checkpoints,
    manifest_path,
    read_checkpoint,
    read_manifest,
    step_of,
)

GOOD = {"state_dict": {}, "bert_lightning": {"format": CHECKPOINT_FORMAT}}


def run(folder: Path, steps: list[int], best: int | None = None, modified: int = 0) -> list[Path]:
    """Files of a run's checkpoints, with links to the newest and the best."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    files = [checkpoints / f"step={step:06d}.ckpt" for step in steps]
    for file in files:
        file.touch()
        os.utime(file, ns=(modified, modified))
    (checkpoints / "last.ckpt").symlink_to(files[-1].name)
    if best is not None:
        (checkpoints / "best.ckpt").symlink_to(f"step={best:06d}.ckpt")
    return files


def test_the_best_of_a_run_comes_first_and_then_the_newest(tmp_path: Path) -> None:
    one, two, three = run(tmp_path / "run", [1, 2, 10], best=2)
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints", tmp_path):
        assert find_checkpoints(path) == [two, three, one]
    assert find_checkpoints(one) == [one]
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    assert find_checkpoints(tmp_path / "run") == [three, two, one]


def test_links_to_nothing_and_other_files_do_not_count(tmp_path: Path) -> None:
    (file,) = run(tmp_path, [3], best=4)
    (tmp_path / "checkpoints" / "step=000009.ckpt.json").touch()
    assert find_checkpoints(tmp_path) == [file]
    file.unlink()
    with pytest.raises(UserError, match="has no checkpoint: neither"):
        find_checkpoints(tmp_path)


@pytest.mark.parametrize("below", ["", "2026/"])
def test_of_several_runs_the_newest_counts_unless_the_folder_is_one(
    tmp_path: Path, below: str
) -> None:
    old = run(tmp_path / below / "a", [1, 9], modified=10**9)
    new = run(tmp_path / below / "b", [1], modified=2 * 10**9)
    oldest = run(tmp_path / below / "c", [2], modified=0)
    assert find_checkpoints(tmp_path) == new
    os.utime(old[0], ns=(3 * 10**9, 3 * 10**9))  # one of its files is enough
    assert find_checkpoints(tmp_path) == [old[1], old[0]]
    assert find_checkpoints(tmp_path / below / "c") == oldest
    own = run(tmp_path, [5], modified=0)
    assert find_checkpoints(tmp_path) == own
    with pytest.raises(UserError, match="has no checkpoint"):
        find_checkpoints(tmp_path / "nowhere")


def test_runs_lie_at_most_two_folders_below(tmp_path: Path) -> None:
    run(tmp_path / "a" / "b" / "c", [1])
    with pytest.raises(UserError, match="has no checkpoint"):
        find_checkpoints(tmp_path)
    assert find_checkpoints(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "step"),
    [("step=000012.ckpt", 12), ("epoch=1-step=7.ckpt", 7), ("mine.ckpt", -1), ("step=x.ckpt", -1)],
)
def test_the_step_stands_in_the_name(name: str, step: int) -> None:
    assert step_of(Path(name)) == step


def save(path: Path, contents: Any) -> Path:
    torch.save(contents, path)
    return path


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ([1], "but it is a list"),
        ({}, r"but it is a dict with the entries \(none\)"),
        ({"state_dict": {}}, "but it is a dict with the entries state_dict"),
        ({"state_dict": {}, "bert_lightning": 1}, "entries state_dict, bert_lightning"),
        ({"bert_lightning": {"format": CHECKPOINT_FORMAT}}, "entries bert_lightning"),
        (dict.fromkeys("abcdefgh"), "entries a, b, c, d, e, f$"),
        ({**GOOD, "bert_lightning": {}}, "has format None, and this version .* reads format 2"),
        ({**GOOD, "bert_lightning": {"format": 1}}, "has format 1, and"),
        ({**GOOD, "path": Path("x")}, "is refused: it holds Python objects"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, contents: Any, says: str) -> None:
    path = save(tmp_path / "x.ckpt", contents)
    with pytest.raises(UserError, match=says) as refused:
        read_checkpoint(path)
    assert not isinstance(refused.value, CorruptCheckpointError)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with pytest.raises(UserError, match=r"x\.ckpt does not exist"):
        read_checkpoint(path)
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_checkpoint(path)
    path.rmdir()
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="is refused: it holds Python objects"):
        read_checkpoint(path)
    path.write_bytes(b"some text")
    with pytest.raises(CorruptCheckpointError, match=r"\(9 bytes that are not a complete torch"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "no torch file")
    with pytest.raises(UserError, match="but it is not a file that torch can read"):
        read_checkpoint(path)
    assert read_checkpoint(save(path, GOOD)) == GOOD


def test_a_disk_that_fails_is_no_corrupt_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "x.ckpt", GOOD)

    def fail(_: zipfile.ZipFile) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(zipfile.ZipFile, "testzip", fail)
    with pytest.raises(UserError, match="cannot be read: Input/output error") as refused:
        read_checkpoint(path)
    assert not isinstance(refused.value, CorruptCheckpointError)


@pytest.mark.parametrize(
    "manifest",
    ['{"bytes": 1}', '{"sha256": "x"}', '{"bytes": "many", "sha256": "x"}', "[]", "{", b"\xff"],
)
def test_a_manifest_states_the_size_and_the_hash(tmp_path: Path, manifest: str | bytes) -> None:
    path = save(tmp_path / "x.ckpt", GOOD)
    assert read_manifest(path) is None
    manifest_path(path).write_bytes(manifest.encode() if isinstance(manifest, str) else manifest)
    with pytest.raises(CorruptCheckpointError, match=r"its manifest .* cannot be read"):
        read_manifest(path)


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_a_small_file_that_holds_a_name_is_a_link_where_there_are_none(
    tmp_path: Path, name: str
) -> None:
    target, file = tmp_path / "step=000003.ckpt", tmp_path / name
    target.write_bytes(b"a checkpoint")
    written = target.name.encode()
    for content, found in (
        (written + b"\n", target),
        (written.ljust(64), target),
        (written.ljust(65), file),  # no link is that long
        (b"step=3", file),
    ):
        file.write_bytes(content)
        assert find_checkpoints(file) == [found]
    other = tmp_path / "other.ckpt"  # not the name of a link
    other.write_bytes(written)
    assert find_checkpoints(other) == [other]
    file.unlink()
    file.symlink_to(target.name)
    target.write_bytes(b"step=000009.ckpt")  # what a link leads to is no link
    assert find_checkpoints(file) == [target]
