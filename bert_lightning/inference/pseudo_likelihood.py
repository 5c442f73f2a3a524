"""How likely a model finds a text: each of its tokens masked in turn (Salazar et al., 2020).

https://arxiv.org/abs/1910.14659
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bert_lightning.batch import MASK, SPECIAL_TOKENS, UNK, Sequences, pack_sequences
from bert_lightning.errors import UserError
from bert_lightning.inference.represent import max_length, tokenize
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.heads import label_scores

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TOKENS_AT_A_TIME = 8192
"""Of the copies of texts, one for each of their tokens, that the model reads together."""
_AROUND = 2
"""`[CLS]` and `[SEP]`."""
_NEVER_PREDICTED = frozenset(SPECIAL_TOKENS) - {UNK}


class PseudoLikelihood(NamedTuple):
    """What a model thinks of a text."""

    tokens: list[str]
    """Without `[CLS]` and `[SEP]`, which are not predicted."""
    log_probs: list[float]
    """Of each token where it alone is masked; natural logarithms."""

    @property
    def total(self) -> float:
        """The pseudo-log-likelihood: their sum."""
        return sum(self.log_probs)


def pseudo_likelihoods(
    model: BertForPreTraining,
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    *,
    truncate: bool = False,
) -> list[PseudoLikelihood]:
    """Masks each token of each text in turn; copies of all texts share batches without padding.

    `PLL(w) = Σₜ log P(wₜ | w without wₜ)`. A piece of a word is masked alone, as in that paper, so
    the model sees the word's other pieces.

    Raises:
        UserError: a text is empty, longer than the model reads and `truncate` is not set, or holds
            a special token other than `[UNK]`; or the tokenizer has no `[MASK]`.
    """
    mask = tokenizer.token_to_id(MASK)
    if mask is None:
        raise UserError(f"the tokenizer has no token {MASK}, which a pseudo-likelihood needs")
    encodings = tokenize(tokenizer, texts, max_length(model), truncate=truncate)
    for encoding in encodings:
        if held := _NEVER_PREDICTED.intersection(encoding.tokens[1:-1]):
            raise UserError(
                f"the text holds {', '.join(sorted(held))}, and each token of a whole text is "
                "masked and predicted here: leave it out"
            )
    if not encodings:
        return []
    log_probs = np.concatenate([_ask(model, copies) for copies in _copies(encodings, mask)])
    ends = np.cumsum([len(encoding) - _AROUND for encoding in encodings])
    return [
        PseudoLikelihood(encoding.tokens[1:-1], part.tolist())
        for encoding, part in zip(encodings, np.split(log_probs, ends[:-1]), strict=True)
    ]


class _Copies(NamedTuple):
    """Copies of texts, each with one token masked."""

    sequences: Sequences
    positions: Tensor
    """`(copies,)` where the masks are in the flat batch."""
    labels: Tensor
    """`(copies,)` what stood there."""


def _copies(encodings: Sequence["Encoding"], mask: int) -> Iterator[_Copies]:
    """A copy for each token, in the order of the tokens, some at a time."""
    token_ids = np.concatenate([encoding.ids for encoding in encodings])
    lengths = np.array([len(encoding) for encoding in encodings])
    asked = lengths - _AROUND
    text = np.repeat(np.arange(len(lengths)), asked)  # (copies,)
    place = np.arange(len(text)) - np.repeat(np.cumsum(asked) - asked, asked) + 1
    start, length = (np.cumsum(lengths) - lengths)[text], lengths[text]
    borders = np.flatnonzero(np.diff(np.cumsum(length) // TOKENS_AT_A_TIME)) + 1
    for chosen in np.split(np.arange(len(text)), borders):
        size = length[chosen]
        first = np.cumsum(size) - size
        ids = token_ids[np.arange(size.sum()) + np.repeat(start[chosen] - first, size)]
        positions = first + place[chosen]
        labels = ids[positions]
        ids[positions] = mask
        yield _Copies(
            pack_sequences(ids, np.zeros_like(ids), size),
            torch.from_numpy(positions),
            torch.from_numpy(labels),
        )


def _ask(model: BertForPreTraining, copies: _Copies) -> np.ndarray:
    """The log-probabilities `(copies,)` of what was masked."""
    device = model.nsp_head.weight.device
    with inference_mode(model):
        hidden = model(copies.sequences.on(device)).hidden[copies.positions.to(device)]
        scores = label_scores(model.mlm_head, hidden, copies.labels.to(device))
    return -scores.nll.double().cpu().numpy()
