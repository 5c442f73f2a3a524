"""The tokens of texts that were tokenized before, looked up by the text."""

from collections import defaultdict
from collections.abc import Callable
from itertools import count, islice
from typing import NamedTuple

import numpy as np

_MOST_KNOWN = 500_000
"""Distinct texts whose tokens are remembered."""


class Tokens(NamedTuple):
    """The tokens of some texts, one after the other."""

    ids: np.ndarray
    starts: np.ndarray
    """Whether each begins a word."""
    lengths: np.ndarray
    """The number of tokens of each text."""


class Known:
    """The tokens of all texts that were looked up; each distinct one is encoded once."""

    def __init__(self, encode: Callable[[list[str]], Tokens]) -> None:
        self._encode = encode
        self._forget()

    def _forget(self) -> None:
        self._place = defaultdict[str, int](count().__next__)
        self._tokens = Tokens(np.zeros(0, int), np.zeros(0, bool), np.zeros(0, int))

    def look_up(self, texts: list[str]) -> Tokens:
        known = len(self._place)
        if known > _MOST_KNOWN:
            self._forget()
            known = 0
        place = np.fromiter(map(self._place.__getitem__, texts), np.int64, len(texts))
        if new := [*islice(reversed(self._place), len(self._place) - known)][::-1]:
            both = zip(self._tokens, self._encode(new), strict=True)
            self._tokens = Tokens(*map(np.concatenate, both))
        lengths = self._tokens.lengths[place]
        start = (np.cumsum(self._tokens.lengths) - self._tokens.lengths)[place]
        source = np.repeat(start - (np.cumsum(lengths) - lengths), lengths)
        source += np.arange(len(source))
        return Tokens(self._tokens.ids[source], self._tokens.starts[source], lengths)
