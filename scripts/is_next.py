"""Prints the probability that the second text follows the first, by a trained model.

python scripts/is_next.py RUN "a crane driver came" "he just left"
"""

import argparse
import logging
from collections.abc import Sequence

import bert_lightning
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the probability that B follows A.")
    parser.add_argument("run", help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    parser.add_argument("--truncate", action="store_true", help="cut a pair that is too long")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    bert = bert_lightning.load(args.run)
    print(f"{bert.is_next(args.first, args.second, truncate=args.truncate):.4f}")


if __name__ == "__main__":
    main()
