"""Pretrains BERT: `bert-lightning train model=tiny trainer.devices=2`."""

from collections.abc import Sequence

from bert_lightning.cli import app
from bert_lightning.cli.quick_imports import quick_imports
from bert_lightning.cli.schema import conf_dir
from bert_lightning.config import TrainConfig
from bert_lightning.work import say, working


def main(_: Sequence[str] | None = None) -> None:
    """Trains with the options of the process's command line, which Hydra reads."""
    app.run(conf_dir(), train)


def train(config: TrainConfig) -> None:
    """Trains one run, then writes and prints its results."""
    with quick_imports():
        from bert_lightning.finetuning.probing.while_training import probes_of
        from bert_lightning.reports.page.while_training import pages_of
        from bert_lightning.reports.run_report import report
        from bert_lightning.runs.folder import crash_report
        from bert_lightning.training.fit import fit

    result = fit(config, callbacks=[*probes_of(config), *pages_of(config)])
    if result.is_main:
        with crash_report(config.folder):
            with working("reporting"):
                lines = report(result)
            say(lines)
