"""A run that goes well writes nothing to standard error, on one device and on several."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.trainer.connectors import data_connector
from torch.utils.data import DataLoader

from bert_lightning.training.trainer import quiet

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["trainer.devices=2", "optim.ema_decay=0.9", "test=true", "data.test_fraction=0.2",
         "callbacks.early_stopping_patience=9"],
        ["batch.num_workers=2", "trainer.accumulate_grad_batches=2", "logger=[tensorboard,csv]"],
        ["trainer.devices=2", "batch.num_workers=1", "pairs=none", "trainer.max_epochs=1"],
        ["trainer.max_steps=3", "trainer.log_every_n_steps=50", "trainer.val_check_interval=50"],
    ],
    ids=lambda options: " ".join(options) or "one device",
)  # fmt: skip
def test_nothing_is_written_to_standard_error(
    small_run: Callable[..., list[str]], tmp_path: Path, options: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *small_run(*options), "hydra.run.dir=run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "speed  " in done.stdout
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    missing = [line for line in done.stdout.splitlines() if line not in log]
    assert not missing  # whatever was printed can be read there


@pytest.mark.parametrize("name", ["train_dataloader", "val_dataloader"])
def test_lightning_does_not_ask_for_workers_where_there_are_many_cores(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, name: str
) -> None:
    monkeypatch.setattr(data_connector, "suggested_max_num_workers", lambda _: 16)
    trainer: Any = SimpleNamespace(num_devices=1)
    loader: DataLoader[int] = DataLoader([1])  # type: ignore[arg-type]
    data_connector._worker_check(trainer, loader, name)
    (told,) = recwarn
    assert f"The '{name}' does not have many workers" in str(told.message)
    recwarn.clear()
    with quiet():
        data_connector._worker_check(trainer, loader, name)
    assert not recwarn


@pytest.mark.slow
def test_a_resume_and_what_reads_a_run_are_quiet_too(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    options, scripts = small_run(), ROOT / "scripts"
    for arguments in (
        [str(ROOT / "train.py"), *options, "trainer.max_steps=3", "hydra.run.dir=run"],
        [str(ROOT / "train.py"), *options, "resume=run", "allow_changes=true", "trainer.devices=2"],
        [str(scripts / "fill_mask.py"), "run", "the [MASK] lifts the driver ."],
        [str(scripts / "export_hf.py"), "run", "exported"],
        [str(scripts / "evaluate.py"), "run", f"data.cache_dir={tmp_path}/cache"],
    ):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = (
            "loaded ",
            "changed at step ",
            "Documents: ",
        )  # what it read, and what the options changed
        told = [line for line in done.stderr.splitlines() if not line.startswith(said)]
        told = [line for line in told if not line.endswith((" so far", " left"))]  # it took long
        assert told == [], arguments[0]
