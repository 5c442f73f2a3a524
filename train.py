"""Pre-trains BERT: `python train.py model=tiny trainer.devices=2`."""

from pathlib import Path

from bert_lightning.cli import app as cli
from bert_lightning.config import TrainConfig
from bert_lightning.reports.run_report import report
from bert_lightning.runs.folder import crash_report
from bert_lightning.training.fit import fit


def train(config: TrainConfig) -> None:
    """One run: trains, then writes and prints what came of it."""
    result = fit(config)
    if result.is_main:
        with crash_report(Path(config.run_dir)):
            print(report(result))


if __name__ == "__main__":
    cli.run(Path(__file__).parent / "conf", train)
