"""What a trained model is used for on the command line: vectors, words for a [MASK], NSP."""

from argparse import Namespace
from itertools import combinations
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bert_lightning.errors import UserError
from bert_lightning.inference.loaded import load
from bert_lightning.inference.represent import Representation

_SHOWN = 4
"""Values of each vector that the table shows."""


def encode(args: Namespace) -> None:
    """Prints, and saves if asked, the vectors of a text or of a pair."""
    encoded = load(args.run).encode(args.text, args.pair, layer=args.layer, truncate=args.truncate)
    width = max(map(len, encoded.tokens))
    print(f"{'token':{width}}  {'norm':>7}  first {_SHOWN} of {encoded.vectors.shape[1]} values")
    for token, vector in zip(encoded.tokens, encoded.vectors, strict=True):
        print(f"{token:{width}}  {_shown(vector)}")
    for word in args.word:
        _print_word(encoded, word)
    if args.output:
        _save(encoded, args.output)


def fill_mask(args: Namespace) -> None:
    """Prints the most probable words for the [MASK] of a text."""
    fills = load(args.run).fill_mask(args.text, args.top, truncate=args.truncate)
    width = max(len(fill.token) for fill in fills)
    for token, probability in fills:
        print(f"{token:{width}}  {probability:.4f}")


def is_next(args: Namespace) -> None:
    """Prints the probability that the second text follows the first."""
    print(f"{load(args.run).is_next(args.A, args.B, truncate=args.truncate):.4f}")


def _print_word(encoded: Representation, word: str) -> None:
    """Prints the vector of each occurrence of a word, and the cosines between them."""
    count = max(1, len(encoded.occurrences(word)))  # where there is none, asking for it says so
    vectors = [encoded.word(word, occurrence=index) for index in range(count)]
    print()
    for index, vector in enumerate(vectors):
        print(f"{word}[{index}]  {_shown(vector)}")
    for (a, first), (b, second) in combinations(enumerate(vectors), 2):
        print(f"cosine of {word}[{a}] and {word}[{b}]: {cosine_similarity(first, second, 0):.4f}")


def _shown(vector: Tensor) -> str:
    """Returns the norm and the first values of a vector."""
    values = "".join(f"{value:9.4f}" for value in vector[:_SHOWN].tolist())
    return f"{vector.norm():7.3f} {values}"


def _save(encoded: Representation, path: Path) -> None:
    """Writes `tokens` `(tokens,)` and `vectors` `(tokens, hidden)`."""
    try:
        with path.open("wb") as file:
            np.savez(file, tokens=np.array(encoded.tokens), vectors=encoded.vectors.numpy())
    except OSError as error:
        raise UserError(f"{path.absolute()} cannot be written: {error.strerror}") from error
    print(f"\nsaved {path}")
