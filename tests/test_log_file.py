"""A log that cannot be written."""

import errno
import logging
import os
from pathlib import Path

import pytest

from bert_lightning.log_file import LogFile


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, __file__, 1, message, (), None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_a_full_disk_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = LogFile("/dev/full", encoding="utf-8")
    for number in range(3):
        log.emit(record(f"line {number}"))
    told = f"/dev/full cannot be written: {os.strerror(errno.ENOSPC)}\n"
    assert capsys.readouterr().err == told


def test_what_was_not_written_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = LogFile(tmp_path / "train.log", encoding="utf-8")
    flush = log.stream.flush

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log.stream, "flush", full, raising=False)
    log.emit(record("lost?"))
    monkeypatch.setattr(log.stream, "flush", flush, raising=False)
    log.emit(record("found"))
    log.close()
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "lost?\nfound\n"
    assert "Traceback" not in capsys.readouterr().err


def test_a_mistake_in_a_message_is_told_as_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = LogFile(tmp_path / "train.log", encoding="utf-8")
    log.emit(logging.LogRecord("a", logging.INFO, __file__, 1, "%d", ("text",), None))
    log.close()
    assert "Traceback" in capsys.readouterr().err
