"""What the masked-language-model head says of single labels: how likely each is, and its rank."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.model.bert import MaskedLanguageModelHead
from bert_lightning.model.objective import CHUNK


class LabelScores(NamedTuple):
    """One number a label, all `(masked,)`."""

    nll: Tensor
    """Negative log-likelihood in nats, float32 or wider."""
    higher: Tensor
    """How many entries of the vocabulary have a higher logit."""
    equal: Tensor
    """How many have the same logit, the label itself included."""

    def among(self, k: int) -> Tensor:
        """Whether each label is among the `k` likeliest, `(masked,)` from 0 to 1.

        Where equals compete for the last places, each has its share of them: numbers of few bits
        are often equal, and the first of equals would be a frequent word.
        """
        return ((k - self.higher) / self.equal).clamp(0, 1)


def label_scores(head: MaskedLanguageModelHead, hidden: Tensor, labels: Tensor) -> LabelScores:
    """Scores the labels `(masked,)` of the vectors `(masked, hidden)`, a chunk of logits at a time.

    All rows of the vocabulary compete, as in training. Without gradients.
    """
    chunks = []
    with torch.no_grad():
        for start in range(0, len(labels), CHUNK):
            rows, wanted = hidden[start : start + CHUNK], labels[start : start + CHUNK]
            logits = head(rows)  # (chunk, vocab)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            right = logits.gather(1, wanted[:, None])
            nll = F.cross_entropy(logits, wanted, reduction="none")
            # On CPU torch adds up numbers ten times as fast as bools; up to 2²⁴ they are exact.
            ones = torch.empty_like(logits)
            higher = torch.gt(logits, right, out=ones).sum(1)
            chunks.append(LabelScores(nll, higher, torch.eq(logits, right, out=ones).sum(1)))
    return LabelScores(*map(torch.cat, zip(*chunks, strict=True)))
