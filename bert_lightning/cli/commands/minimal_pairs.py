"""Measures how often a model finds the grammatical sentence of a pair more probable."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bert_lightning.cli.parsers import parser_of
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("minimal-pairs")
    parser.add_argument("run", help="a run, a checkpoint, or a folder in Hugging Face's format")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE.jsonl",
        help="in each line an object with sentence_good and sentence_bad, as BLiMP has them",
    )
    parser.add_argument("--truncate", action="store_true", help="shorten long sentences")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from bert_lightning.evaluation.minimal_pairs import judge, read_pairs, summarize
    from bert_lightning.inference.loaded import load
    from bert_lightning.reports.evaluation_report import show_minimal_pairs

    pairs = [pair for file in args.files for pair in read_pairs(file)]
    found = summarize(args.run, pairs, judge(load(args.run), pairs, truncate=args.truncate))
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        show_minimal_pairs(found)
