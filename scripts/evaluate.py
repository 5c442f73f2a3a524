"""Prints how good a model is on held-out text, each score beside its floor.

python scripts/evaluate.py RUN
python scripts/evaluate.py my-bert data.path=wikitext-2 --json
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from bert_lightning.cli import app as cli
from bert_lightning.errors import exit_on_user_error
from bert_lightning.evaluation.evaluation import evaluate
from bert_lightning.evaluation.subject import corpus_of, evaluation_options
from bert_lightning.pretrained.sources import open_source
from bert_lightning.reports.evaluation_report import show_evaluation

CONFIG = Path(__file__).parents[1] / "conf"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print how good a model is on held-out text.")
    parser.add_argument("run", help="a run, a checkpoint, or a folder in Hugging Face's format")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="data=, pairs=, data.* and batch.* as for train.py (default: the run's own, or data=wikitext2)",
    )
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    source = open_source(args.run)
    given = cli.compose_for_script(CONFIG, args.overrides)
    data, batch = evaluation_options(source, given, args.overrides)
    found = evaluate(source, corpus_of(source, data, batch), batch, args.split)
    if args.json:
        print(json.dumps(found.plain(), indent=2))
    else:
        show_evaluation(found)


if __name__ == "__main__":
    main()
