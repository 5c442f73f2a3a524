"""`bert-lightning corpora`: what it lists, and what it removes."""

import os
import time
from pathlib import Path

import pytest

from bert_lightning.cli.main import command
from bert_lightning.config import CorpusConfig, CorpusSource, PairsConfig, TokenizerConfig
from bert_lightning.corpus.manifest import MANIFEST
from bert_lightning.corpus.prepare import prepare

CapSys = pytest.CaptureFixture[str]
DAY = 24 * 60 * 60


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a corpus of words, unused for 40 days, and a smaller one, used just now."""
    data = CorpusConfig(name="builtin", source=CorpusSource.builtin, cache_dir=str(tmp_path))
    for min_frequency in (2, 9):
        prepare(data, TokenizerConfig(min_frequency=min_frequency), PairsConfig())
        if min_frequency == 2:
            (old,) = tmp_path.glob(f"*/{MANIFEST}")
            os.utime(old, (time.time() - 40 * DAY,) * 2)
    return tmp_path


def corpora(*arguments: str) -> None:
    command("corpora")(arguments)


def names(cache: Path) -> list[str]:
    return [path.parent.name for path in cache.glob(f"*/{MANIFEST}")]


def test_it_lists_size_and_age(cache: Path, capsys: CapSys) -> None:
    capsys.readouterr()
    corpora("--cache-dir", str(cache))
    header, newer, older, total = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "corpus"
    assert sorted(names(cache)) == sorted([newer.split()[0], older.split()[0]])
    assert newer.rstrip().endswith("just now")
    assert older.rstrip().endswith("40 days ago")
    assert total.endswith(f" in {cache}")


@pytest.mark.slow
def test_it_removes_what_is_unused_or_unreadable(cache: Path, capsys: CapSys) -> None:
    (old,) = [name for name in names(cache) if _age(cache / name) > 39 * DAY]
    for nothing in ("60", "unusable"):
        corpora("--cache-dir", str(cache), "--remove", nothing)
    assert len(names(cache)) == 2
    corpora("--cache-dir", str(cache), "--remove", "30")
    (kept,) = names(cache)
    assert kept != old
    assert f"removed {old}" in capsys.readouterr().out
    (cache / kept / MANIFEST).write_text("{}")
    corpora("--cache-dir", str(cache), "--remove", "unusable")
    assert names(cache) == []


def _age(corpus: Path) -> float:
    return time.time() - (corpus / MANIFEST).stat().st_mtime


@pytest.mark.parametrize("days", ["-1", "nan", "old"])
def test_what_is_no_age_is_refused(capsys: CapSys, days: str) -> None:
    with pytest.raises(SystemExit) as ended:
        corpora(f"--remove={days}")
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err == f"error: --remove {days}: expects 0 days or more, or unusable\n"
    )
