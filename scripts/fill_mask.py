"""Prints the words that a trained model would put in place of [MASK].

python scripts/fill_mask.py RUN "the [MASK] is flying" --top 5
"""

import argparse
import logging
from collections.abc import Sequence

import bert_lightning
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the likeliest words for a [MASK].")
    parser.add_argument("run", help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("text", help="a text with one [MASK]")
    parser.add_argument("--top", type=int, default=5, help="how many words (default: %(default)s)")
    parser.add_argument("--truncate", action="store_true", help="cut a text that is too long")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    fills = bert_lightning.load(args.run).fill_mask(args.text, args.top, truncate=args.truncate)
    width = max(len(fill.token) for fill in fills)
    for token, probability in fills:
        print(f"{token:{width}}  {probability:.4f}")


if __name__ == "__main__":
    main()
