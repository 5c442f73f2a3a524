"""Word vectors by which words are similar that stand near the same words in the training text.

They are a truncated singular value decomposition of the positive pointwise mutual information of
words and their neighbors (Levy, Goldberg and Dagan, 2015, https://aclanthology.org/Q15-1016).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.sparse import check_sparse_tensor_invariants

WINDOW = 4
"""Tokens on either side that are neighbors."""
_SMOOTHING = 0.75
"""Exponent of the neighbors' frequencies, so that rare ones do not dominate (Levy et al., 3.2)."""
_TOKENS = 5_000_000
"""Tokens that are counted: the first of a longer text."""
_EXTRA = 16
"""Directions beyond those wanted that make the decomposition of a random sketch accurate."""


class Neighbors(NamedTuple):
    """How often words stand near each other, nearer ones counting more: a sparse matrix."""

    word: np.ndarray
    neighbor: np.ndarray
    """`(pairs,)` each: two words; both orders of two are there, and no pair twice."""
    weight: np.ndarray
    """`(pairs,)`: the sum of 1 / distance over the places where they stand near each other."""


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def neighbors(token_ids: np.ndarray, sentence_starts: np.ndarray, vocab: int) -> Neighbors:
    """Counts neighbors within sentences; `sentence_starts` is `(sentences + 1,)`."""
    end = int(np.searchsorted(sentence_starts, _TOKENS, "right"))
    starts = sentence_starts[: max(2, end)]
    ids = token_ids[: starts[-1]].astype(np.int64)
    sentence = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    keys, weights = [], []
    for distance in range(1, WINDOW + 1):
        together = sentence[distance:] == sentence[:-distance]
        first, second = ids[:-distance][together], ids[distance:][together]
        key, times = np.unique(first * vocab + second, return_counts=True)
        keys += [key, key % vocab * vocab + key // vocab]
        weights += [times / distance] * 2
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    weight = np.bincount(place, np.concatenate(weights), len(key))
    return Neighbors(key // vocab, key % vocab, weight)


def mutual_information(found: Neighbors, vocab: int) -> Tensor:
    """Returns the positive pointwise mutual information, `(vocab, vocab)`, sparse.

    It is `log(p(word, neighbor) / (p(word) · q(neighbor)))` where that is above 0; `q` is
    proportional to `p ** 0.75`.
    """
    of_word = np.bincount(found.word, found.weight, vocab)
    smoothed = of_word**_SMOOTHING
    by_chance = of_word[found.word] * smoothed[found.neighbor] / max(smoothed.sum(), 1)
    information = np.log(found.weight / by_chance)
    positive = information > 0
    places = np.stack([found.word[positive], found.neighbor[positive]])
    values = torch.from_numpy(information[positive]).float()
    shape = (vocab, vocab)
    with check_sparse_tensor_invariants():  # torch 2.11 warns where nobody says whether to check
        return torch.sparse_coo_tensor(torch.from_numpy(places), values, shape).coalesce()


def cooccurrence_vectors(information: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the words that have neighbors, `(words,)`, and their vectors, `(words, size)`.

    Each direction has mean 0 and variance 1 over these words, and a random rotation spreads what
    the directions mean over all dimensions. If there are fewer directions than dimensions, the
    variance of a dimension is below 1.

    The vectors do not depend on how many threads torch has, and so not on the number of devices:
    other roundings would turn directions of nearly the same weight into each other.
    """
    words = information.indices()[0].unique()
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        check_sparse_tensor_invariants(),
        _one_thread(),
    ):
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        torch.manual_seed(seed)
        sketch = min(size + _EXTRA, len(information))
        by_row = information.to_sparse_csr()  # its products take half the time
        left, values, _ = torch.svd_lowrank(by_row, q=sketch, niter=4)
        rotation, _ = torch.linalg.qr(torch.randn(size, size, dtype=left.dtype))
    kept = min(size, int((values > values[0] * 1e-5).sum()))
    directions = (left[:, :kept] * values[:kept].sqrt())[words]
    directions -= directions.mean(0)
    directions /= directions.std(0, correction=0).clamp(min=torch.finfo(directions.dtype).tiny)
    return words, directions @ rotation[:kept]
