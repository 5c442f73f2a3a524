"""What a log shows, and a log that cannot be written."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bert_lightning.log_file import LogFile

CONF = Path(__file__).parents[1] / "conf"


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


@pytest.mark.parametrize(
    ("logger", "message", "shown"),
    [
        ("bert_lightning.corpus", "corpus wikitext-2", True),
        ("my_objective", "a remark of code of one's own", True),
        ("httpx2", 'HTTP Request: GET https://example.org "HTTP/1.1 200 OK"', False),
        ("matplotlib.font_manager", "generated new fontManager", False),
    ],
)
def test_a_log_has_no_remarks_of_the_libraries_below(
    logger: str, message: str, shown: bool
) -> None:
    config = yaml.safe_load((CONF / "hydra" / "job_logging" / "plain.yaml").read_text("utf-8"))
    config["handlers"]["file"] = {"class": "logging.NullHandler"}
    code = "import json, logging.config, sys; logging.config.dictConfig(json.loads(sys.argv[1])); "
    code += "logging.getLogger(sys.argv[2]).info(sys.argv[3])"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config), logger, message],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == (f"{message}\n" if shown else "")
