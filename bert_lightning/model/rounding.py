"""Batches of a round number of tokens, for code that is compiled for their number.

oneDNN, which multiplies 16-bit matrices on CPU, compiles a product for each number of rows, and
keeps about a thousand of them. Numbers that are never the same again would have it compile in
every step.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bert_lightning.batch import Sequences

_ROUNDED_TO = 64


def by_onednn(x: Tensor) -> bool:
    """Returns whether products with `x` are oneDNN's."""
    if x.device.type != "cpu":
        return False
    autocast = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if autocast else x.dtype).itemsize == 2


def with_rounded_rows(x: Tensor) -> Tensor:
    """Returns the vectors `(rows, width)`, with rows of zeros after them where oneDNN is used."""
    more = -len(x) % _ROUNDED_TO if by_onednn(x) else 0
    return pad(x, (0, 0, 0, more)) if more else x


def rounded(sequences: Sequences) -> Sequences:
    """Returns the sequences, and after them one of `[PAD]` that rounds up the number of tokens.

    Nothing reads its vectors, so it changes no loss, and its gradient is 0. In a compiled model
    the matrix products of a GPU get whole tiles.
    """
    total = len(sequences.token_ids)
    if not (more := -total % _ROUNDED_TO):
        return sequences
    by_token = (pad(values, (0, more)) for values in sequences[:3])
    ends = pad(sequences.cu_seqlens, (0, 1), value=total + more)
    return Sequences._make([*by_token, ends, np.append(sequences.lengths, more)])
