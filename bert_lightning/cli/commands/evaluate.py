"""Scores a model on held-out text, each score beside its baseline."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict

from bert_lightning.cli.app import compose_for_script
from bert_lightning.cli.parsers import parser_of
from bert_lightning.cli.places import conf_dir
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("evaluate")
    parser.add_argument("run", help="a run, a checkpoint, or a folder in Hugging Face's format")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="data=, pairs=, data.* and batch.* as for train "
        "(default: the run's own, or data=wikitext2)",
    )
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_intermixed_args(argv)
    given = compose_for_script(conf_dir(), args.overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from bert_lightning.evaluation.evaluation import evaluate
    from bert_lightning.evaluation.subject import corpus_of, evaluation_options
    from bert_lightning.pretrained.sources import open_source
    from bert_lightning.reports.evaluation_report import show_evaluation

    source = open_source(args.run)
    data, batch = evaluation_options(source, given, args.overrides)
    found = evaluate(source, corpus_of(source, data, batch), batch, args.split)
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        show_evaluation(found)
