"""What a trained model is used for on the command line: vectors, words for a [MASK], NSP."""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from bert_lightning.cli.parsers import parser_of
from bert_lightning.errors import UserError, exit_on_user_error

if TYPE_CHECKING:
    from bert_lightning.inference.loaded import PretrainedBert
    from bert_lightning.inference.represent import Representation

_SHOWN = 4
"""Values of each vector that the table shows."""


@exit_on_user_error()
def encode(argv: Sequence[str] | None = None) -> None:
    """Prints, and saves if asked, the vectors of a text or of a pair."""
    parser = _parser("encode")
    parser.add_argument("text")
    parser.add_argument("pair", nargs="?", help="a second text, read together with the first")
    parser.add_argument(
        "--word",
        action="append",
        default=[],
        help="show the vector of this word wherever it occurs, and their cosines; may be repeated",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="save tokens and vectors")
    bert, args = _loaded(parser, argv)

    encoded = bert.encode(args.text, args.pair, truncate=args.truncate)
    _print_table(encoded)
    for word in args.word:
        _print_word(encoded, word)
    if args.output:
        _save(encoded, args.output)


@exit_on_user_error()
def fill_mask(argv: Sequence[str] | None = None) -> None:
    """Prints the most probable words for the [MASK] of a text."""
    parser = _parser("fill-mask")
    parser.add_argument("text", help="a text with one [MASK]")
    parser.add_argument("--top", type=int, default=5, help="how many words (default: %(default)s)")
    bert, args = _loaded(parser, argv)

    fills = bert.fill_mask(args.text, args.top, truncate=args.truncate)
    width = max(len(fill.token) for fill in fills)
    for token, probability in fills:
        print(f"{token:{width}}  {probability:.4f}")


@exit_on_user_error()
def is_next(argv: Sequence[str] | None = None) -> None:
    """Prints the probability that the second text follows the first."""
    parser = _parser("is-next")
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    bert, args = _loaded(parser, argv)

    print(f"{bert.is_next(args.first, args.second, truncate=args.truncate):.4f}")


def _parser(name: str) -> ArgumentParser:
    parser = parser_of(name)
    parser.add_argument("run", help="a run folder, a .ckpt file, or a folder of runs")
    parser.add_argument("--truncate", action="store_true", help="shorten text that is too long")
    return parser


def _loaded(
    parser: ArgumentParser, argv: Sequence[str] | None
) -> tuple["PretrainedBert", Namespace]:
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from bert_lightning.inference.loaded import load

    return load(args.run), args


def _print_table(encoded: "Representation") -> None:
    """Prints, for each token, the norm and the first values of its vector."""
    width = max(map(len, encoded.tokens))
    print(f"{'token':{width}}  {'norm':>7}  first {_SHOWN} of {encoded.vectors.shape[1]} values")
    for token, vector in zip(encoded.tokens, encoded.vectors, strict=True):
        print(f"{token:{width}}  {vector.norm():7.3f} {_values(vector[:_SHOWN].tolist())}")


def _print_word(encoded: "Representation", word: str) -> None:
    """Prints the vector of each occurrence of a word, and the cosines between them."""
    from torch.nn.functional import cosine_similarity

    count = max(1, len(encoded.occurrences(word)))  # where there is none, asking for it says so
    vectors = [encoded.word(word, occurrence=index) for index in range(count)]
    print()
    for index, vector in enumerate(vectors):
        print(f"{word}[{index}]  {vector.norm():7.3f} {_values(vector[:_SHOWN].tolist())}")
    for (a, first), (b, second) in combinations(enumerate(vectors), 2):
        print(f"cosine of {word}[{a}] and {word}[{b}]: {cosine_similarity(first, second, 0):.4f}")


def _values(numbers: Sequence[float]) -> str:
    return "".join(f"{number:9.4f}" for number in numbers)


def _save(encoded: "Representation", path: Path) -> None:
    """Writes `tokens` `(tokens,)` and `vectors` `(tokens, hidden)`."""
    import numpy as np

    try:
        with path.open("wb") as file:
            np.savez(file, tokens=np.array(encoded.tokens), vectors=encoded.vectors.numpy())
    except OSError as error:
        raise UserError(f"{path.absolute()} cannot be written: {error.strerror}") from error
    print(f"\nsaved {path}")
