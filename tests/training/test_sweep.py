"""A sweep over several devices: real processes, one after the other."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_each_job_has_its_own_processes_config_and_folder_and_one_that_fails_stops_none(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    sweep = tmp_path / "a sweep"
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "train.py"),
            "-m",
            *small_run("trainer.devices=2", f"hydra.sweep.dir='{sweep}'"),
            "optim.lr=1e-3,3e-3",
            "batch.global_batch_size=32",
            "seed=7",
            "batch.micro_batch_size=16,5",
        ],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("error: ") == 2
    assert "batch.micro_batch_size=5" in done.stderr
    assert "Traceback" not in done.stderr
    rates = []
    for rate, size in product(("0.001", "0.003"), (16, 5)):
        trial = sweep / f"optim.lr={rate},batch.micro_batch_size={size}"
        checkpoint = trial / "checkpoints" / "last.ckpt"
        assert checkpoint.is_file() is (size == 16)
        if checkpoint.is_file():
            config = torch.load(checkpoint, weights_only=True)["bert_lightning"]["config"]
            assert config["seed"] == 7
            assert config["trainer"]["devices"] == 2
            rates.append(config["optim"]["lr"])
    assert rates == [1e-3, 3e-3]
    (table,) = re.findall(r"^2 runs by val/loss, the lowest first.*", done.stdout, re.S | re.M)
    assert re.search(r"^optim\.lr +batch\.micro_batch_size +val/loss ", table, re.M)
    assert table.count(": failed, exit code 2") == 2
    assert "\nbest        a sweep/optim.lr=0.00" in table
    events = EventAccumulator(str(sweep / "optim.lr=0.001,batch.micro_batch_size=16")).Reload()
    assert "hparam/val_loss" in events.Tags()["scalars"]


@pytest.mark.slow
def test_each_job_heeds_the_configs_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "my conf" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nmodel:\n  num_attention_heads: 3\n")
    flags = ["-m", "--config-dir", "my conf", "hydra.sweep.dir=sweep"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *flags, "experiment=mine", "seed=1,2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("model.num_attention_heads=3") == 2, done.stderr
