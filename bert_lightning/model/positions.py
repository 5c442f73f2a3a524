"""How the model knows the position of a token: every kind, behind one small interface.

A new kind is a class here, an entry in `POSITIONS` and a value of `PositionEmbedding`.
"""

import torch
from torch import Tensor, nn

from bert_lightning.batch import Sequences
from bert_lightning.config import ModelConfig, PositionEmbedding
from bert_lightning.model.kernels.few_rows import few_rows

Prepared = tuple[Tensor, ...]
"""The tensors that change the queries and keys of a batch; empty if nothing changes them."""


class Positions(nn.Module):
    """The interface of every kind; by itself, no positions at all."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def initialize(self) -> None:
        """Sets the initial weights, if there are any."""

    def add(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Adds to the sum of word and segment vectors: `(total, hidden)` → `(total, hidden)`."""
        return x

    def prepare(self, sequences: Sequences) -> Prepared:
        """Computes what `turn` needs of a batch, once for all layers."""
        return ()

    @staticmethod
    def turn(x: Tensor, prepared: Prepared) -> Tensor:
        """Changes queries or keys, `(total, heads, head_dim)`, unless `prepared` is empty."""
        raise NotImplementedError


class LearnedPositions(Positions):
    """A vector for each position, added to the token's (Devlin et al., 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.weight = nn.Embedding(config.max_position_embeddings, config.hidden_size).weight

    def initialize(self) -> None:
        # Drawn in any case, so that sinusoidal_init changes no other initial weight.
        nn.init.normal_(self.weight, std=self.config.initializer_range)
        if self.config.sinusoidal_init:
            scale = 2 * self.config.initializer_range * 2**0.5  # the mean square of a sine is 1/2
            self.weight.data.copy_(scale * sinusoids(*self.weight.shape))

    def add(self, x: Tensor, sequences: Sequences) -> Tensor:
        return x + few_rows(sequences.position_ids, self.weight)


def sinusoids(positions: int, size: int) -> Tensor:
    """Sines and cosines of positions, `(positions, size)` (Vaswani et al., 2017, section 3.5)."""
    place = torch.arange(size)
    angles = torch.outer(torch.arange(positions), 10000.0 ** (-(place - place % 2) / size))
    return torch.where(place % 2 == 0, angles.sin(), angles.cos())


class RotaryPositions(Positions):
    """Rotates queries and keys by an angle that grows with the position.

    Pair `i` of a head's values turns by `position · theta^(-2i / head_dim)` (Su et al., 2021,
    section 3.2.2), so the score of two tokens depends on how far apart they are. `theta` is
    `rope_theta`; the slowest pair turns once in about `2π · theta` tokens.
    """

    def prepare(self, sequences: Sequences) -> Prepared:
        """Returns the cosines and the sines, each `(total, 1, head_dim / 2)`."""
        positions, size = sequences.position_ids, self.config.head_dim
        exponents = torch.arange(0, size, 2, device=positions.device) / size
        each = torch.arange(int(sequences.lengths.max()), device=positions.device)
        angles = torch.outer(each.float(), self.config.rope_theta ** -exponents.float())
        return angles.cos()[positions, None], angles.sin()[positions, None]

    @staticmethod
    def turn(x: Tensor, prepared: Prepared) -> Tensor:
        """Rotates each pair of values of a head: the i-th of its first and of its second half."""
        first, second = x.chunk(2, -1)
        cos, sin = (each.to(x.dtype) for each in prepared)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


POSITIONS: dict[PositionEmbedding, type[Positions]] = {
    PositionEmbedding.learned: LearnedPositions,
    PositionEmbedding.rotary: RotaryPositions,
}
