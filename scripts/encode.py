"""Prints the vectors of a text, or of a pair, from a trained model.

python scripts/encode.py RUN "a crane is flying"
python scripts/encode.py RUN "a crane is flying" "the crane lifted the steel" --word crane
"""

import argparse
import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch.nn.functional as F  # noqa: N812

import bert_lightning
from bert_lightning.errors import UserError, exit_on_user_error
from bert_lightning.inference.represent import Representation

SHOWN = 4
"""Values of each vector that the table shows."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the vectors of a text, or of a pair.")
    parser.add_argument("run", help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("text")
    parser.add_argument("pair", nargs="?", help="a second text, read together with the first")
    parser.add_argument(
        "--word",
        action="append",
        default=[],
        help="show this word's vector wherever it occurs, and how alike these are; may be repeated",
    )
    parser.add_argument("--truncate", action="store_true", help="cut what is too long")
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="save tokens and vectors")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    bert = bert_lightning.load(args.run)
    encoded = bert.encode(args.text, args.pair, truncate=args.truncate)
    print_table(encoded)
    for word in args.word:
        print_word(encoded, word)
    if args.output:
        save(encoded, args.output)


def print_table(encoded: Representation) -> None:
    """One line a token: its norm and the first values of its vector."""
    width = max(map(len, encoded.tokens))
    print(f"{'token':{width}}  {'norm':>7}  first {SHOWN} of {encoded.vectors.shape[1]} values")
    for token, vector in zip(encoded.tokens, encoded.vectors, strict=True):
        print(f"{token:{width}}  {vector.norm():7.3f} {values(vector[:SHOWN].tolist())}")


def print_word(encoded: Representation, word: str) -> None:
    """A word's vector at each place where it stands, and the cosines between the places."""
    vectors = [encoded.word(word)]
    places = encoded.occurrences(word)
    vectors += [encoded.word(word, occurrence=index) for index in range(1, len(places))]
    print()
    for index, vector in enumerate(vectors):
        print(f"{word}[{index}]  {vector.norm():7.3f} {values(vector[:SHOWN].tolist())}")
    for (a, first), (b, second) in combinations(enumerate(vectors), 2):
        print(f"cosine of {word}[{a}] and {word}[{b}]: {F.cosine_similarity(first, second, 0):.4f}")


def values(numbers: Sequence[float]) -> str:
    return "".join(f"{number:9.4f}" for number in numbers)


def save(encoded: Representation, path: Path) -> None:
    """Writes `tokens` `(tokens,)` and `vectors` `(tokens, hidden)`."""
    try:
        with path.open("wb") as file:
            np.savez(file, tokens=np.array(encoded.tokens), vectors=encoded.vectors.numpy())
    except OSError as error:
        raise UserError(f"{path.absolute()} cannot be written: {error.strerror}") from error
    print(f"\nsaved {path}")


if __name__ == "__main__":
    main()
