"""Prints what a corpus is like, how its examples look, and the floors to read losses against.

python scripts/inspect_data.py data=text data.path='notes/*.txt' --examples 3
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from bert_lightning.cli import app as cli
from bert_lightning.errors import exit_on_user_error
from bert_lightning.reports.data_report import show_data

CONFIG = Path(__file__).parents[1] / "conf"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print what a corpus and its examples are like.")
    parser.add_argument("overrides", nargs="*", help="as for train.py: data=text data.path=FILE")
    parser.add_argument("--examples", type=int, default=3, help="how many (default: %(default)s)")
    args = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = cli.compose_for_script(CONFIG, args.overrides)
    show_data(config, args.examples)


if __name__ == "__main__":
    main()
