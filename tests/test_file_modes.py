"""Whoever may read other files may read what is written here: its mode is what the umask allows."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bert_lightning.config import CorpusConfig, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.files import write_text
from bert_lightning.inference.export import export
from bert_lightning.inference.export_folder import FILES
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO
from bert_lightning.runs.curves import MetricsFile

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")


@pytest.fixture(params=[0o022, 0o002, 0o077, 0o007], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def wrong_modes(folder: Path, umask: int) -> dict[str, str]:
    """The files and folders below whose mode is another than that of any new file."""
    found = {}
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        if mode != expected and not path.is_symlink():
            found[path.relative_to(folder).as_posix()] = oct(mode)
    return found


def test_small_files_and_curves(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "summary.json", "{}")
    MetricsFile(tmp_path, {"train/loss": [(1, 2.0)]}).add(2, {"train/loss": 1.0})
    assert wrong_modes(tmp_path, umask) == {}


def test_checkpoints_and_their_manifests(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "checkpoints" / "step=000001.ckpt"
    VerifiedCheckpointIO().save_checkpoint({"weight": torch.ones(3)}, path)
    VerifiedCheckpointIO().save_checkpoint({"weight": torch.ones(3)}, path)  # over the first
    assert len(list(path.parent.iterdir())) == 2
    assert wrong_modes(tmp_path, umask) == {}


def test_prepared_corpora_and_their_locks(
    small_data: CorpusConfig, tmp_path: Path, umask: int
) -> None:
    small_data = CorpusConfig(**{**vars(small_data), "cache_dir": str(tmp_path / "cache")})
    prepare(small_data, TokenizerConfig(min_frequency=1), PairsConfig())
    assert len(list(tmp_path.rglob("*"))) > 12
    assert wrong_modes(tmp_path, umask) == {}


def test_exports(save_hf: Callable[..., Path], tmp_path: Path, umask: int) -> None:
    source = save_hf(tmp_path / "source")
    export(source, tmp_path / "exports" / "mine")
    assert {path.name for path in (tmp_path / "exports" / "mine").iterdir()} == set(FILES)
    assert wrong_modes(tmp_path / "exports", umask) == {}


@pytest.mark.slow
def test_all_that_a_run_writes(small_run: Callable[..., list[str]], tmp_path: Path) -> None:
    options = [*small_run("trainer.max_steps=2"), f"data.cache_dir={tmp_path}/cache"]
    commands = [
        f"'{sys.executable}' {ROOT / 'train.py'} {' '.join(options)} hydra.run.dir=run",
        f"'{sys.executable}' {ROOT / 'scripts' / 'export_hf.py'} run exported",
    ]
    script = " && ".join(["umask 007", *commands])
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert wrong_modes(tmp_path, 0o007) == {}
