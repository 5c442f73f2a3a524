"""Rotary position embedding: a query and a key know how far apart they are."""

from typing import NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """The angles by which the tokens of a batch are turned, each `(total, 1, head_dim / 2)`."""

    cos: Tensor
    sin: Tensor


def rotation(position_ids: Tensor, longest: int, head_dim: int, theta: float) -> Rotation:
    """The angles `position · theta^(-2i / head_dim)` (Su et al., 2021, section 3.2.2).

    Args:
        position_ids: `(total,)` int64.
        longest: one more than the highest position.
        head_dim: values of one head, an even number.
        theta: the base; the slowest pair turns once in about `2π · theta` tokens.
    """
    exponents = torch.arange(0, head_dim, 2, device=position_ids.device) / head_dim
    positions = torch.arange(longest, device=position_ids.device)
    angles = torch.outer(positions.float(), theta ** -exponents.float())  # (longest, head_dim / 2)
    return Rotation(*(f(angles)[position_ids, None] for f in (torch.cos, torch.sin)))


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """Turns each pair of values of `(total, heads, head_dim)`: the i-th of both halves."""
    first, second = x.chunk(2, -1)
    cos, sin = turn.cos.to(x.dtype), turn.sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
