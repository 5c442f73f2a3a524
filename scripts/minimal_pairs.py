"""Prints how often a model finds the good sentence of a minimal pair likelier than the bad one.

python scripts/minimal_pairs.py RUN blimp/*.jsonl
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import bert_lightning
from bert_lightning.errors import exit_on_user_error
from bert_lightning.evaluation.minimal_pairs import judge, read_pairs, summarize
from bert_lightning.reports.evaluation_report import show_minimal_pairs


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the accuracy on minimal pairs.")
    parser.add_argument("run", help="a run, a checkpoint, or a folder in Hugging Face's format")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE.jsonl",
        help="in each line an object with sentence_good and sentence_bad, as BLiMP has them",
    )
    parser.add_argument("--truncate", action="store_true", help="cut sentences that are too long")
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    pairs = [pair for file in args.files for pair in read_pairs(file)]
    bert = bert_lightning.load(args.run)
    found = summarize(args.run, pairs, judge(bert, pairs, truncate=args.truncate))
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        show_minimal_pairs(found)


if __name__ == "__main__":
    main()
