"""How likely a model finds the right tokens, and how high they rank."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.model.linear_cross_entropy import CHUNK
from bert_lightning.model.objective import MaskedLanguageModeling


class LabelScores(NamedTuple):
    """How likely each label is and how high it ranks, all `(masked,)`."""

    nll: Tensor
    """Negative log-likelihood in nats, float32 or wider."""
    higher: Tensor
    """How many words of the vocabulary have a higher logit."""
    equal: Tensor
    """How many have the same logit, the label itself included."""

    def among(self, k: int) -> Tensor:
        """Returns whether each label is among the `k` likeliest, `(masked,)` from 0 to 1.

        Where equals compete for the last places, each gets its fraction of them: 16-bit logits are
        often equal, and the first of the equals would be a frequent word.
        """
        return ((k - self.higher) / self.equal).clamp(0, 1)


@torch.no_grad()
def label_scores(head: MaskedLanguageModeling, hidden: Tensor, labels: Tensor) -> LabelScores:
    """Scores the labels `(masked,)` of the vectors `(masked, hidden)`, a chunk of logits at a time.

    All rows of the vocabulary compete, as in training. Without gradients.
    """
    chunks = []
    for rows, wanted in zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True):
        logits = head(rows)  # (chunk, vocab)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        right = logits.gather(1, wanted[:, None])
        nll = F.cross_entropy(logits, wanted, reduction="none")
        # On CPU torch adds up numbers ten times as fast as bools; up to 2²⁴ they are exact.
        ones = torch.empty_like(logits)
        higher = torch.gt(logits, right, out=ones).sum(1)
        chunks.append(LabelScores(nll, higher, torch.eq(logits, right, out=ones).sum(1)))
    return LabelScores(*map(torch.cat, zip(*chunks, strict=True)))
