"""BERT as a textbook's PyTorch chapter writes it (Dive into Deep Learning, sections 15.8 to 15.10).

Everything is padded to the full length; attention masks with a large negative number; three
projections are three products; the masked positions are gathered before the large product. Written
anew from the book's description, with the sizes of a given config.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.padding import Padded
from bert_lightning.config import ModelConfig


class TextbookAttention(nn.Module):
    """Multi-head attention with a separate layer for queries, keys and values."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.query, self.key, self.value, self.output = (
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(4)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        n, length, hidden = x.shape
        q, k, v = (
            layer(x).reshape(n, length, self.heads, -1).transpose(1, 2).reshape(
                n * self.heads, length, -1
            )
            for layer in (self.query, self.key, self.value)
        )  # fmt: skip
        scores = q @ k.transpose(1, 2) / (hidden / self.heads) ** 0.5
        beyond = (
            torch.arange(length, device=x.device) >= valid.repeat_interleave(self.heads)[:, None]
        )
        weights = scores.masked_fill(beyond[:, None], -1e6).softmax(-1)
        mixed = (self.dropout(weights) @ v).reshape(n, self.heads, length, -1)
        return self.output(mixed.transpose(1, 2).reshape(n, length, hidden))


class TextbookBlock(nn.Module):
    """Attention and feed-forward, each followed by dropout, the sum and LayerNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = TextbookAttention(config)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm1, self.norm2 = (nn.LayerNorm(config.hidden_size) for _ in range(2))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, valid)))
        return self.norm2(x + self.dropout(self.down(F.relu(self.up(x)))))


class TextbookBert(nn.Module):
    """The encoder and both heads; the large output layer is not tied to the embedding."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.word, self.segment = nn.Embedding(vocab_size, hidden), nn.Embedding(2, hidden)
        self.position = nn.Parameter(torch.randn(1, config.max_position_embeddings, hidden))
        self.blocks = nn.ModuleList(TextbookBlock(config) for _ in range(config.num_hidden_layers))
        self.mlm = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, vocab_size),
        )
        self.pooler = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.nsp = nn.Linear(hidden, 2)

    def forward(self, batch: Padded) -> tuple[Tensor, Tensor]:
        """Returns logits `(n, most, vocab)` of the masked positions and `(n, 2)` of the pairs."""
        x = self.word(batch.token_ids) + self.segment(batch.token_type_ids)
        x = x + self.position[:, : x.shape[1]]
        valid = batch.attention_mask.sum(1)
        for block in self.blocks:
            x = block(x, valid)
        places = batch.masked_places[..., None].expand(-1, -1, x.shape[-1])
        return self.mlm(x.gather(1, places)), self.nsp(self.pooler(x[:, 0]))


def textbook_loss(model: TextbookBert, batch: Padded) -> Tensor:
    """Returns the sum of the mean MLM loss and the mean NSP loss; padding has weight 0."""
    mlm_logits, nsp_logits = model(batch)
    labels = batch.masked_labels.reshape(-1)
    weights = (labels != -100).float()
    losses = F.cross_entropy(mlm_logits.flatten(0, 1), labels.clamp(min=0), reduction="none")
    return (losses * weights).sum() / weights.sum() + F.cross_entropy(nsp_logits, batch.next_labels)
