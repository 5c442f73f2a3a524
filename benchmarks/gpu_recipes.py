"""The recipes of `benchmarks.gpu`: fifty steps by the command, and their second half once more."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_batches import SMALL_MODEL, VOCAB, Settings
from bert_lightning.runs.folder import read_config

ROOT = Path(__file__).parents[1]
STEPS = 50
SIZES = {"tiny_8min": (128, 512), "base_gpu": (128, 512), "large_gpu": (512, 64)}
"""The length and the pairs a step of each: a batch of its own size would take half an hour."""
_SMALL = (*SMALL_MODEL, "trainer.accelerator=cpu", "trainer.precision=32-true")


def recipe(name: str, settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains a recipe on made-up text, resumes it from its middle, and compares both ends."""
    length, pairs = (32, 8) if settings.small else SIZES[name]
    steps = 4 if settings.small else STEPS
    with TemporaryDirectory() as place:
        folder = Path(place)
        _write_text(folder / "text.txt", 500 if settings.small else 20_000)
        run, half = folder / "run", folder / "half"
        options = [
            f"experiment={name}", "data=text", f"data.path={folder / 'text.txt'}",
            "data.validation_fraction=0.02", f"data.cache_dir={folder / 'cache'}",
            "batch.phases=null", f"batch.max_length={length}", f"batch.global_batch_size={pairs}",
            "optim.time_budget=null", "optim.warmup_steps=2", f"trainer.max_steps={steps}",
            "trainer.limit_val_batches=2", f"trainer.val_check_interval={steps}",
            f"callbacks.every_n_train_steps={steps // 2}", "trainer.devices=1", "logger=csv",
            "tokenizer=wordpiece", f"tokenizer.vocab_size={500 if settings.small else 8000}",
            f"model.vocab_size={500 if settings.small else VOCAB}",
            *(_SMALL if settings.small else ()),
            # One recipe shows that a compiled model trains and resumes.
            f"model.compile={str(name == 'base_gpu' and not settings.small).lower()}",
        ]  # fmt: skip
        _train(folder, *options, f"hydra.run.dir={run}")
        yield {"recipe": name, "steps": steps, **_last_values(run)}
        shutil.copytree(run, half, symlinks=True)
        for path in half.glob(f"checkpoints/step={steps:06d}*"):
            path.unlink()
        printed = _train(folder, f"resume={half}")
        ends = [_weights(each / "checkpoints" / f"step={steps:06d}.ckpt") for each in (run, half)]
        yield {
            "resumed": f"resumes from step {steps // 2}" in printed,
            "bit_exact": bool(torch.equal(*ends)),
            "largest_difference": (ends[0] - ends[1]).abs().max().item(),
        }


def _train(folder: Path, *options: str) -> str:
    command = [sys.executable, str(ROOT / "train.py"), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"train.py {' '.join(options)}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr


def _last_values(run: Path) -> dict[str, Any]:
    """Returns the last of each curve of training and of work, and what was decided on memory."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    last = {
        name: float(row[name])
        for row in rows
        for name in row
        if name.startswith(("train/", "work/")) and row[name]
    }
    config = read_config(run)
    chosen = {
        "activation_checkpointing": config.model.activation_checkpointing,
        "strategy": config.strategy.name.value,
    }
    return {**last, **chosen}


def _weights(path: Path) -> torch.Tensor:
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([value.flatten().float() for value in state.values()])


def _write_text(path: Path, sentences: int) -> None:
    """Writes documents of made-up words, as frequent as their rank says (Zipf)."""
    rng = np.random.default_rng(0)
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(20_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, sentences + 1):
            chosen = np.minimum(rng.zipf(1.2, rng.integers(8, 40)), len(words)) - 1
            sentence = " ".join(words[each] for each in chosen)
            end = "\n\n" if number % 20 == 0 else "\n" if number % 5 == 0 else " "
            file.write(f"{sentence.capitalize()}.{end}")
