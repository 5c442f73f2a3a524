"""BERT, read from top to bottom (Devlin et al., 2019, https://arxiv.org/abs/1810.04805).

Everything works on flat sequences, `(total, hidden)`; only attention knows where they end.
"""

from typing import NamedTuple

from torch import Tensor, nn

from bert_lightning.batch import Sequences
from bert_lightning.config import HiddenAct, ModelConfig
from bert_lightning.model.attention import Buckets, SelfAttention, bucket_by_length
from bert_lightning.model.dropout import Dropout


def activation(name: HiddenAct) -> nn.Module:
    return nn.GELU() if name is HiddenAct.gelu else nn.ReLU()


class Embeddings(nn.Module):
    """The sum of a word's, its segment's and its position's vector, normalised."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, sequences: Sequences) -> Tensor:
        x = self.word(sequences.token_ids)
        x = x + self.token_type(sequences.token_type_ids)
        x = x + self.position(sequences.position_ids)
        return self.dropout(self.norm(x))


class FeedForward(nn.Module):
    """The same two-layer network at every position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = activation(config.hidden_act)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.up(x)))


class Block(nn.Module):
    """Attention, then feed-forward; each is added to its input and normalised (post-norm)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, buckets: Buckets) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, buckets)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Encoder(nn.Module):
    """Embeddings and a stack of blocks."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(config, vocab_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))

    def forward(self, sequences: Sequences) -> Tensor:
        """Returns one vector a token, `(total, hidden)`."""
        buckets = bucket_by_length(sequences.lengths, sequences.token_ids.device)
        x = self.embeddings(sequences)
        for block in self.blocks:
            x = block(x, buckets)
        return x


class Pooler(nn.Module):
    """One vector for a whole sequence, read off its `[CLS]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, cls: Tensor) -> Tensor:
        return self.dense(cls).tanh()


class MaskedLanguageModelHead(nn.Module):
    """From a token's vector to a score for each word; the words' vectors are the embedding's."""

    def __init__(self, config: ModelConfig, word_embedding: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = activation(config.hidden_act)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, word_embedding.num_embeddings)
        self.decoder.weight = word_embedding.weight

    def transform(self, x: Tensor) -> Tensor:
        """`(masked, hidden)` → `(masked, hidden)`, all but the product with the vocabulary."""
        return self.norm(self.act(self.dense(x)))

    def forward(self, x: Tensor) -> Tensor:
        """`(masked, hidden)` → logits `(masked, vocab)`; training never makes them all at once."""
        return self.decoder(self.transform(x))


class Encoded(NamedTuple):
    """What the encoder says of a batch."""

    hidden: Tensor
    """`(total, hidden)`: one vector a token."""
    pooled: Tensor
    """`(sequences, hidden)`: one vector a sequence."""


class BertForPreTraining(nn.Module):
    """The encoder with both heads of the paper.

    Args:
        config: the sizes.
        vocab_size: rows of the embedding, at least the tokenizer's size.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.encoder = Encoder(config, vocab_size)
        self.pooler = Pooler(config)
        self.mlm_head = MaskedLanguageModelHead(config, self.encoder.embeddings.word)
        self.nsp_head = nn.Linear(config.hidden_size, 2)
        self.initializer_range = config.initializer_range
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, sequences: Sequences) -> Encoded:
        hidden = self.encoder(sequences)
        return Encoded(hidden, self.pooler(hidden[sequences.cu_seqlens[:-1]]))
