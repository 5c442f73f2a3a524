"""Measures the data wait of the training loop: the tiny model on WikiText-2, on CPU.

python -m benchmarks.data_wait FOLDER

Writes `benchmarks/data_wait.json`: for several numbers of workers and sizes of a micro-batch, the
step time and the fraction of it that the loop waits for batches.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import machine
from bert_lightning.cli import app as cli
from bert_lightning.errors import exit_on_user_error
from bert_lightning.training.assembly import assemble
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.trainer import build_trainer

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "data_wait.json"
WAIT, WORK = "[_TrainingEpochLoop].train_dataloader_next", "run_training_batch"
"""The names of the two parts of the loop in Lightning's profiler."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="WikiText-2's files")
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args(argv)
    with TemporaryDirectory() as place:
        runs = [
            measure_data_wait(args.folder, place, args.steps, workers, micro_batch)
            for micro_batch in (512, 16)
            for workers in (0, 2)
        ]
    text = json.dumps({"machine": machine(), "steps": args.steps, "runs": runs}, indent=2)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


def measure_data_wait(
    path: Path, cache: str, steps: int, workers: int, micro_batch: int
) -> dict[str, float]:
    """Trains for some steps; returns the step time and the fraction of it that is data wait."""
    options = [
        *(f"data.path={path}", f"data.cache_dir={cache}", f"run_dir={cache}/run"),
        *(f"batch.num_workers={workers}", f"batch.micro_batch_size={micro_batch}"),
        *("batch.global_batch_size=512", "batch.max_length=128"),
        *(f"trainer.max_steps={steps}", "trainer.profiler=simple"),
        *("logger=none", "trainer.enable_checkpointing=false", "trainer.limit_val_batches=0"),
        *("trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "trainer.devices=1"),
    ]
    config = cli.compose(ROOT / "conf", options)
    run = assemble(config, None)
    trainer = build_trainer(run, steps, StopSignals())
    trainer.fit(run.module, datamodule=run.data)
    # the first step starts the workers and torch's threads
    recorded = trainer.profiler.recorded_durations  # type: ignore[attr-defined]
    waited, worked = (sum(recorded[name][run.partition.accumulation :]) for name in (WAIT, WORK))
    return {
        "num_workers": workers,
        "micro_batch_size": micro_batch,
        "step_seconds": (waited + worked) / (steps - 1),
        "data_wait_fraction": waited / (waited + worked),
    }


if __name__ == "__main__":
    main()
