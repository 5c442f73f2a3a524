"""Long work is shown: as bars on a terminal, elsewhere as lines, and it is never hindered."""

import gzip
import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from bert_lightning import work
from bert_lightning.corpus.readers.lines import open_text
from bert_lightning.corpus.readers.storage.meter import Meter
from bert_lightning.work import Work, duration, say, tracked, working

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """Returns the next line that begins so; one comes every few hundredths of a second."""
    monkeypatch.setattr(work, "_SECONDS_BETWEEN_LINES", 0.02)
    monkeypatch.setattr(work, "_SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(work, "bar_console", lambda: None)

    def next_line(text: str) -> str:
        caplog.clear()
        for _ in range(1000):
            if found := [line for line in caplog.messages if line.startswith(text)]:
                return found[0]
            time.sleep(0.01)
        raise AssertionError(caplog.messages)

    with caplog.at_level(logging.INFO, "bert_lightning"):
        yield next_line


def test_lines_tell_how_far_work_is_and_what_it_is_a_part_of(
    lines: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    with working("evaluating"):
        assert re.fullmatch(r"evaluating: \d s so far", lines("evaluating"))
        with working("reading", 8, "MB") as part:
            part.advance(3)
            assert re.fullmatch(r"reading: 3 of 8 MB, \S+ MB/s, \d+ s left", lines("reading: 3"))
            part.restart("training")
            assert re.fullmatch(r"training: \d s so far", lines("training"))
        assert lines("evaluating")
    caplog.clear()
    time.sleep(0.1)
    assert not caplog.messages


def test_items_are_counted_as_they_are_done(lines: Callable[[str], str]) -> None:
    items = tracked(iter("abc"), 3, "scoring")
    assert next(items) == "a"
    assert re.fullmatch(r"scoring: 0 of 3 batches, \d s so far", lines("scoring: 0"))
    assert next(items) == "b"
    assert lines("scoring: 1 of 3 batches")
    assert list(items) == ["c"]
    assert not work._SCREEN._works


def test_a_guess_of_the_total_that_was_too_low_is_dropped() -> None:
    guess = Work("reading", 2, "MB", measure=lambda: 3.0)
    guess.update()
    assert re.fullmatch(r"reading: 3 MB, \S+ MB/s, 0 s so far", guess.line())


def test_the_rate_is_that_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(work.time, "monotonic", lambda: now[0])
    resumed = Work("training")
    resumed.restart("training", 1000, "steps", done=400)
    now[0] = 110.0
    resumed.done = 600
    assert resumed.status() == "600 of 1,000 steps, 20 steps/s, 20 s left"
    assert resumed.seconds_left() == 20
    resumed.done = 1000
    assert resumed.status() == "1,000 of 1,000 steps, finishing, 10 s so far"


def test_long_work_is_told_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_SECONDS_BETWEEN_LINES", 5.0)
    begun = Work("reading")._since
    assert Work("reading").seconds_between_lines(begun) == 5
    assert Work("reading").seconds_between_lines(begun + 600) == pytest.approx(30, abs=1)


def test_a_process_that_tells_nothing_starts_no_thread() -> None:
    logging.getLogger("bert_lightning").setLevel(logging.ERROR)
    try:
        before = threading.active_count()
        with working("reading"):
            assert threading.active_count() == before
    finally:
        logging.getLogger("bert_lightning").setLevel(logging.NOTSET)


def test_times_in_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 89, 90, 3005, 9000)] == [
        *("0 s", "89 s", "1:30 min", "50:05 min", "2.5 h")
    ]


def test_what_is_printed_reaches_the_log_and_is_printed_once(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file, screen = logging.FileHandler(tmp_path / "train.log"), io.StringIO()
    logger, terminal = logging.getLogger(work.PRINTED), logging.StreamHandler(screen)
    logger.addHandler(file)
    logging.getLogger().addHandler(terminal)
    try:
        with caplog.at_level(logging.INFO):
            say("\nrun  here\nnext  there")
    finally:
        logger.removeHandler(file)
        logging.getLogger().removeHandler(terminal)
        file.close()
    assert capsys.readouterr().out == "\nrun  here\nnext  there\n"
    assert (tmp_path / "train.log").read_text() == "run  here\nnext  there\n"
    assert not screen.getvalue()  # else the terminal would show it twice


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_the_meter_follows_a_file_that_is_read(tmp_path: Path, name: str) -> None:
    content = os.urandom(600_000).hex().encode()
    file = tmp_path / name
    file.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    size, meter = file.stat().st_size, Meter()
    megabytes = meter.megabytes()
    with (
        open_text(file) as stream,
        meter.reading(size, partial(os.lseek, stream.fileno(), 0, os.SEEK_CUR)),
    ):
        assert meter.position() == 0
        stream.read(600_000)
        assert size * 0.4 < meter.position() < size * 0.7
    assert meter.position() == size
    assert megabytes() == pytest.approx(size / 1e6)


CHILD = """
import logging, sys, time
logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
from bert_lightning import work
work._SECONDS_BEFORE_BAR, work._SECONDS_BETWEEN_LINES, work._SECONDS_BETWEEN_LOOKS = 0, 0.1, 0.01
with work.working("reading words", 8, "MB") as reading:
    reading.advance(3)
    time.sleep(0.6)
    logging.info("WARNING: a message that comes meanwhile")
    print("printed meanwhile")
    time.sleep(0.3)
print("the end")
"""
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "TERM": "xterm"}


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_a_bar_on_a_real_terminal_of_80_columns() -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT
    )
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 65536):
            output += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", output.decode()).replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    bars = [line for line in lines if re.search("reading words.*━.* 3 of 8 MB, .* left", line)]
    assert bars
    assert max(map(len, lines)) <= 80
    assert "WARNING: a message that comes meanwhile" in lines  # on a line of its own
    assert "printed meanwhile" in lines
    assert lines[-1] == "the end"


@pytest.mark.parametrize("color", [{}, {"FORCE_COLOR": "1"}])
def test_lines_in_a_pipe_of_any_encoding(color: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        capture_output=True,
        env={**ENVIRONMENT, **color, "PYTHONIOENCODING": "cp1252"},
        check=True,
    )
    lines = done.stdout.decode("cp1252").split("\n")
    assert re.fullmatch(r"reading words: 3 of 8 MB, \S+ MB/s, \d+ s left\r?", lines[0])
    assert b"\x1b" not in done.stdout + done.stderr
    assert lines[-2].strip() == "the end"


def test_a_bar_on_a_terminal_that_lacks_its_characters(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    content = io.BytesIO()
    screen = io.TextIOWrapper(content, encoding="cp1252", write_through=True)
    console = Console(file=screen, force_terminal=True, width=80, legacy_windows=False)
    monkeypatch.setattr(work, "bar_console", lambda: console)
    monkeypatch.setattr(work, "_SECONDS_BEFORE_BAR", 0)
    with caplog.at_level(logging.INFO), working("reading [words]", 8, "MB") as reading:
        reading.advance(3)
        time.sleep(0.5)
    text = content.getvalue().decode("cp1252")
    assert re.search(r"reading \[words\].*--.*3 of 8 MB", text)
