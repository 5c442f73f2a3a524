"""Step → the words among which masked tokens are predicted: a pure function, as batches are."""

import numpy as np
import torch

from bert_lightning.batch import SampledWords
from bert_lightning.data.randomness import Stream, permuted


class WordSampling:
    """Draws words of the vocabulary for each optimizer step, of the rare ones others each time.

    Frequent words have most of the probability, so every step has them.
    """

    def __init__(self, token_counts: np.ndarray, words: int, seed: int) -> None:
        """`token_counts` `(vocab,)` are those of the training split; `words` are fewer."""
        by_frequency = np.argsort(-token_counts, kind="stable")
        self.words, self.seed = words, seed
        self.frequent, self.rare = np.split(by_frequency, [words * 2 // 3])

    def at(self, step: int) -> SampledWords:
        """Returns the words of a step."""
        drawn = np.arange(self.words - len(self.frequent))
        place = permuted(drawn, len(self.rare), self.seed, Stream.sampled_words, step)
        ids = np.concatenate([self.frequent, self.rare[place]])
        return SampledWords(torch.from_numpy(ids), len(self.frequent), len(self.rare))
