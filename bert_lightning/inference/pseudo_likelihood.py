"""The pseudo-likelihood of a text: each token masked and predicted in turn.

Salazar et al., 2020, https://arxiv.org/abs/1910.14659
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import MASK, SPECIAL_TOKENS, UNK, Sequences, pack_sequences
from bert_lightning.corpus.tokenizer import Encoding, Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.inference.represent import tokenize
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.linear_cross_entropy import CHUNK

TOKENS_PER_BATCH = 8192
"""A text of n tokens becomes n copies, each with one mask; a batch holds about so many tokens."""
_SPECIAL = 2
"""`[CLS]` and `[SEP]`."""
_NEVER_PREDICTED = frozenset(SPECIAL_TOKENS) - {UNK}


class PseudoLikelihood(NamedTuple):
    """The log-probabilities of a text's tokens."""

    tokens: list[str]
    """Without `[CLS]` and `[SEP]`, which are not predicted."""
    log_probs: list[float]
    """Of each token when it alone is masked; natural logarithms."""

    @property
    def total(self) -> float:
        """The pseudo-log-likelihood: the sum of the log-probabilities."""
        return sum(self.log_probs)


def pseudo_likelihoods(
    model: BertForPreTraining, tokenizer: Tokenizer, texts: Sequence[str], *, truncate: bool
) -> list[PseudoLikelihood]:
    """Masks each token of each text in turn, in padding-free batches.

    `PLL(w) = Σₜ log P(wₜ | w without wₜ)`. As in the paper, a wordpiece is masked alone, so the
    model sees the other pieces of its word.

    Raises:
        UserError: a text is empty, too long, or has special tokens; or there is no `[MASK]`.
    """
    mask = tokenizer.token_to_id(MASK)
    if mask is None:
        raise UserError(
            f"the tokenizer has no {MASK}, which a pseudo-likelihood needs: load another model"
        )
    limit = model.config.max_position_embeddings
    encodings = tokenize(tokenizer, texts, limit, truncate=truncate)
    for encoding in encodings:
        if found := _NEVER_PREDICTED.intersection(encoding.tokens[1:-1]):
            raise UserError(
                f"the text contains {', '.join(sorted(found))}, which no model predicts: "
                "write the text without special tokens"
            )
    if not encodings:
        return []
    log_probs = np.concatenate([_log_probs(model, *copies) for copies in _copies(encodings, mask)])
    ends = np.cumsum([len(encoding) - _SPECIAL for encoding in encodings])
    return [
        PseudoLikelihood(encoding.tokens[1:-1], part.tolist())
        for encoding, part in zip(encodings, np.split(log_probs, ends[:-1]), strict=True)
    ]


def _copies(encodings: Sequence[Encoding], mask: int) -> Iterator[tuple[Sequences, Tensor, Tensor]]:
    """Yields batches of copies, one a token, with places and labels `(copies,)` of the masks."""
    token_ids = np.concatenate([encoding.ids for encoding in encodings])
    lengths = np.array([len(encoding) for encoding in encodings])
    counts = lengths - _SPECIAL
    text = np.repeat(np.arange(len(lengths)), counts)  # (copies,)
    place = np.arange(len(text)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    start, length = (np.cumsum(lengths) - lengths)[text], lengths[text]
    borders = np.flatnonzero(np.diff(np.cumsum(length) // TOKENS_PER_BATCH)) + 1
    for chosen in np.split(np.arange(len(text)), borders):
        size = length[chosen]
        first = np.cumsum(size) - size
        ids = token_ids[np.arange(size.sum()) + np.repeat(start[chosen] - first, size)]
        positions = first + place[chosen]
        labels = ids[positions]
        ids[positions] = mask
        packed = pack_sequences(ids, np.zeros_like(ids), size)
        yield packed, torch.from_numpy(positions), torch.from_numpy(labels)


def _log_probs(
    model: BertForPreTraining, copies: Sequences, positions: Tensor, labels: Tensor
) -> np.ndarray:
    """Returns the log-probabilities `(copies,)` of the masked tokens."""
    device = model.nsp_head.weight.device
    with inference_mode(model):
        hidden = model(copies.on(device)).hidden[positions.to(device)]
        chunks = zip(hidden.split(CHUNK), labels.to(device).split(CHUNK), strict=True)
        nll = [
            F.cross_entropy(model.mlm_head(rows).float(), wanted, reduction="none")
            for rows, wanted in chunks
        ]
    return -torch.cat(nll).cpu().double().numpy()
