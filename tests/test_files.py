"""Atomic writes: all of the new content or what was there before, and nothing else."""

from pathlib import Path

import pytest

from bert_lightning.files import TEMPORARY, atomic, write_text


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    for text in ("first\n", "second, with ü\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
        assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("old")

    def write() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the new")
            assert list(tmp_path.glob(TEMPORARY)) == [temporary]
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 -- it is the very one that was raised
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_too(tmp_path: Path) -> None:
    link = tmp_path / "last"
    for target in ("one", "two"):
        with atomic(link) as temporary:
            temporary.symlink_to(target)
        assert link.readlink() == Path(target)


def test_folders_are_not_synced_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = tmp_path / "file", []
    monkeypatch.setattr("bert_lightning.files.os.open", lambda *call: opened.append(call))
    monkeypatch.setattr("bert_lightning.files.os.name", "nt")
    temporary = str(path)  # a Path made now would be one of Windows
    write_text(path, "text")
    monkeypatch.undo()
    assert not opened
    assert Path(temporary).read_text() == "text"
