"""The heads of BERT, from the encoder's vectors to what they predict."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bert_lightning.config import ModelConfig
from bert_lightning.model.layers import LayerNorm, activation

CHUNK = 1024
"""Rows of logits that exist at a time: few enough for the cache, enough for fast products."""


def rows_on_gpu(vocab_size: int, width: int) -> int:
    """Returns the same for a GPU's kernel, for logits of `width` bytes: 1 GiB of them at most."""
    return min(16_384, 2**30 // (vocab_size * width))


class Encoded(NamedTuple):
    """The vectors of a batch, which every head reads."""

    hidden: Tensor
    """`(total, hidden)`: one vector a token."""
    pooled: Tensor
    """`(sequences, hidden)`: one vector a sequence."""
    masked: Tensor
    """`(masked, hidden)`: the vectors of the tokens to predict, if the model was told which."""


class Pooler(nn.Module):
    """One vector for a whole sequence, computed from its `[CLS]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)

    def forward(self, cls: Tensor) -> Tensor:
        return self.dense(cls).tanh()


class MaskedLanguageModelHead(nn.Module):
    """From a token's vector to a logit for each word; its word vectors are the embedding's."""

    def __init__(self, config: ModelConfig, words: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)
        self.act = activation(config.hidden_act)
        self.norm = LayerNorm(config)
        self.decoder = nn.Linear(config.hidden_size, words.num_embeddings)
        self.decoder.weight = words.weight

    def transform(self, x: Tensor) -> Tensor:
        """`(masked, hidden)` → `(masked, hidden)`, all but the product with the vocabulary."""
        return self.norm(self.act(self.dense(x)))

    def forward(self, x: Tensor) -> Tensor:
        """`(masked, hidden)` → logits `(masked, vocab)`; training never makes them all at once."""
        return self.decoder(self.transform(x))


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
def label_scores(head: MaskedLanguageModelHead, hidden: Tensor, labels: Tensor) -> LabelScores:
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
