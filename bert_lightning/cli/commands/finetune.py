"""Fine-tunes a BERT: `bert-lightning finetune task=text data.path=train.csv init_from=RUN`."""

import json
from collections.abc import Sequence

from bert_lightning.cli import app
from bert_lightning.cli.quick_imports import quick_imports
from bert_lightning.cli.schema import conf_dir
from bert_lightning.config.finetune import FinetuneConfig


def main(_: Sequence[str] | None = None) -> None:
    """Fine-tunes with the options of the process's command line, which Hydra reads."""
    app.run(conf_dir(), finetune, "finetune")


def finetune(config: FinetuneConfig) -> None:
    """Fine-tunes one run, then writes and prints its results."""
    with quick_imports():
        from bert_lightning.files import write_text
        from bert_lightning.finetuning.fit import finetune
        from bert_lightning.reports.finetune_report import (
            baseline_scores,
            report,
            summarize,
            write_predictions,
        )
        from bert_lightning.runs.folder import crash_report

    result = finetune(config)
    if result.is_main:
        with crash_report(config.folder):
            beside = baseline_scores(result) if config.baselines else {}
            summary = {**summarize(result), "baselines": beside}
            write_predictions(result)
            text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
            write_text(config.folder / "summary.json", text)
            print(report(result, beside))
