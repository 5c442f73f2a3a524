"""Batches of a round number of tokens, for code that is compiled for their number."""

import numpy as np
from torch.nn.functional import pad

from bert_lightning.batch import Sequences

_ROUNDED_TO = 64


def rounded(sequences: Sequences) -> Sequences:
    """Returns the sequences, and after them one of `[PAD]` that rounds up the number of tokens.

    Nothing reads its vectors, so it changes no loss, and its gradient is 0. oneDNN compiles a
    matrix product for each number of rows: batches of few hundred tokens, which are never as many
    again, would have it compile in every step, for longer than it then computes. In a compiled
    model the matrix products of a GPU get whole tiles.
    """
    total = len(sequences.token_ids)
    if not (more := -total % _ROUNDED_TO):
        return sequences
    by_token = (pad(values, (0, more)) for values in sequences[:3])
    ends = pad(sequences.cu_seqlens, (0, 1), value=total + more)
    return Sequences._make([*by_token, ends, np.append(sequences.lengths, more)])
