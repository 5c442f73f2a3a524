"""Fine-tunes a BERT: `bert-lightning finetune task=text data.path=train.csv init_from=RUN`."""

from collections.abc import Sequence

from bert_lightning.cli import app
from bert_lightning.cli.quick_imports import quick_imports
from bert_lightning.cli.schema import conf_dir
from bert_lightning.config.finetune import FinetuneConfig


def main(_: Sequence[str] | None = None) -> None:
    """Fine-tunes with the options of the process's command line, which Hydra reads."""
    app.run(conf_dir(), finetune, "finetune")


def finetune(config: FinetuneConfig) -> None:
    """Fine-tunes one run, and the further runs that its results need; prints the results."""
    with quick_imports():
        from bert_lightning.cli.many_runs.study import finetune_and_compare

    finetune_and_compare(config)
