"""Measures the overhead of checks, logging and checkpoints in the training loop, and the resume.

python -m benchmarks.overhead FOLDER

Trains the tiny model on CPU and writes `benchmarks/overhead.json`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from benchmarks.machine import machine
from bert_lightning.cli import app as cli
from bert_lightning.errors import exit_on_user_error
from bert_lightning.runs.loggers import build_loggers
from bert_lightning.training.assembly import assemble
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.trainer import build_trainer

ROOT, NAME = Path(__file__).parents[1], "benchmarks/overhead.json"
PARTS = {
    "finiteness check and stop consensus": "[Callback]StopConsensus.on_before_optimizer_step",
    "logging": "[Callback]RecordCurves.on_train_batch_end",
    "progress bar": "[Callback]LossProgress.on_train_batch_start",
}
"""The names of the parts in Lightning's profiler."""
STEP, SAVE = "run_training_batch", "[Callback]SaveCheckpoints.on_train_batch_start"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="WikiText-2's files")
    parser.add_argument("--steps", type=int, default=21)
    args = parser.parse_args(argv)
    with TemporaryDirectory(dir=ROOT) as place:  # on a disk, which /tmp may not be
        options = [f"data.path={args.folder.absolute()}", f"data.cache_dir={place}/cache"]
        options += ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.limit_val_batches=0"]
        options += [f"trainer.max_steps={args.steps}", "callbacks.every_n_train_steps=5"]
        found = {"machine": machine(), "steps": args.steps, **measure_loop(options, place)}
        found["resume_to_first_step_seconds"] = measure_resume(options, place)
    (ROOT / NAME).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print((ROOT / NAME).read_text(encoding="utf-8"))


def measure_loop(options: list[str], place: str) -> dict[str, object]:
    """Returns each part's fraction of the step time, and the times of a save and a bare write."""
    folder = Path(place) / "run"
    folder.mkdir()
    options = [*options, f"run_dir={folder}", "trainer.profiler=simple"]
    run = assemble(cli.compose(ROOT / "conf", options), None)
    steps = run.module.progress.steps
    loggers = build_loggers(run.config, None)
    trainer = build_trainer(run, steps, StopSignals(), loggers=loggers)
    trainer.fit(run.module, datamodule=run.data)
    recorded = trainer.profiler.recorded_durations  # type: ignore[attr-defined]
    step = sum(recorded[STEP][1:])  # the first step starts torch's threads
    parts = {part: sum(recorded[name][1:]) for part, name in PARTS.items()}
    newest = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    bare: list[float] = []
    for _ in range(5):  # a new file each time, as checkpoints are
        began = time.perf_counter()
        with (Path(place) / f"bare{len(bare)}.ckpt").open("wb") as file:
            torch.save(newest, file)
            file.flush()
            os.fsync(file.fileno())
        bare.append(time.perf_counter() - began)
    saves = [seconds for seconds in recorded[SAVE] if seconds > min(bare) / 4]
    size = (folder / "checkpoints/last.ckpt").stat().st_size
    return {
        "step_seconds": step / (steps - 1),
        "fractions": {part: seconds / step for part, seconds in parts.items()},
        "checkpoint_seconds": median(saves),
        "bare_write_seconds": median(bare),
        "checkpoint_bytes": size,
    }


def measure_resume(options: list[str], place: str) -> float:
    """Returns the seconds from the start of a process that resumes to the end of its first step."""
    run, train = f"{place}/resumed", [sys.executable, str(ROOT / "train.py")]
    options = [*options, f"hydra.run.dir={run}", "trainer.log_every_n_steps=1"]
    subprocess.run([*train, *options, "trainer.max_steps=5"], check=True, capture_output=True)
    began = time.perf_counter()
    resume = [*train, f"resume={run}", "trainer.max_steps=99", "allow_changes=true"]
    with subprocess.Popen(resume, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step 6/"):
                seconds = time.perf_counter() - began
                process.kill()
    return seconds


if __name__ == "__main__":
    main()
