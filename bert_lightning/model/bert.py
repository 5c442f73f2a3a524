"""BERT, read from top to bottom (Devlin et al., 2019, https://arxiv.org/abs/1810.04805).

Everything works on flat sequences, `(total, hidden)`; only attention knows where they end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bert_lightning.batch import Sequences
from bert_lightning.config import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    PositionEmbedding,
)
from bert_lightning.model.attention import (
    Ends,
    Layout,
    SelfAttention,
    bucket_by_length,
    flash_reads,
)
from bert_lightning.model.dropout import Dropout
from bert_lightning.model.norm import LayerNorm
from bert_lightning.model.rotary import rotation


def activation(name: HiddenAct) -> nn.Module:
    return nn.GELU() if name is HiddenAct.gelu else nn.ReLU()


class Embeddings(nn.Module):
    """The sum of a word's, its segment's and its position's vector, normalised.

    With rotary positions there is no position's vector: attention turns queries and keys instead.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, config.hidden_size)
        self.position = (
            nn.Embedding(config.max_position_embeddings, config.hidden_size)
            if config.position_embedding is PositionEmbedding.learned
            else None
        )
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps, bias=config.bias)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, sequences: Sequences) -> Tensor:
        x = self.word(sequences.token_ids) + self.token_type(sequences.token_type_ids)
        if self.position is not None:
            x = x + self.position(sequences.position_ids)
        return self.dropout(self.norm(x).to(activation_dtype(x)))


def activation_dtype(x: Tensor) -> torch.dtype:
    """The type of the vectors between layers: bf16 under its autocast, otherwise the parameters'.

    fp16 has too small a range for sums over many layers; autocast rounds its products alone.
    """
    device = x.device.type
    bf16 = torch.is_autocast_enabled(device) and (
        torch.get_autocast_dtype(device) is torch.bfloat16
    )
    return torch.bfloat16 if bf16 else x.dtype


def sinusoids(positions: int, size: int) -> Tensor:
    """Sines and cosines of positions, `(positions, size)` (Vaswani et al., 2017, section 3.5)."""
    place = torch.arange(size)
    angles = torch.outer(torch.arange(positions), 10000.0 ** (-(place - place % 2) / size))
    return torch.where(place % 2 == 0, angles.sin(), angles.cos())


class FeedForward(nn.Module):
    """The same two-layer network at every position.

    `glu` multiplies one half of the inner values by the activation of the other (GeGLU with GELU;
    Shazeer, 2020, https://arxiv.org/abs/2002.05202).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.feed_forward is FeedForwardKind.glu
        inner = config.intermediate_size
        self.up = nn.Linear(config.hidden_size, 2 * inner if self.gated else inner, config.bias)
        self.act = activation(config.hidden_act)
        self.down = nn.Linear(inner, config.hidden_size, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.up(x)
        if self.gated:
            gate, inner = inner.chunk(2, -1)
            return self.down(self.act(gate) * inner)
        return self.down(self.act(inner))


class Block(nn.Module):
    """Attention, then feed-forward; each adds to its input.

    The sum is normalised (`post`, as in the paper), or what goes into either part is (`pre`;
    Xiong et al., 2020, https://arxiv.org/abs/2002.04745).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm is NormPlacement.pre
        self.attention = SelfAttention(config)
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps, bias=config.bias)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = LayerNorm(
            config.hidden_size, config.layer_norm_eps, bias=config.bias
        )
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), layout))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, layout)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Encoder(nn.Module):
    """Embeddings and a stack of blocks; `pre` norm needs one more at the end."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, vocab_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = (
            LayerNorm(config.hidden_size, config.layer_norm_eps, bias=config.bias)
            if config.norm is NormPlacement.pre
            else nn.Identity()
        )

    def forward(self, sequences: Sequences) -> Tensor:
        """Returns one vector a token, `(total, hidden)`."""
        x = self.embeddings(sequences)
        layout = self._layout(sequences, x)
        for block in self.blocks:
            if self.config.activation_checkpointing and self.training:
                x = checkpoint(block, x, layout, use_reentrant=False)
            else:
                x = block(x, layout)
        return self.norm(x)

    def _layout(self, sequences: Sequences, x: Tensor) -> Layout:
        config, lengths = self.config, sequences.lengths
        rotary = config.position_embedding is PositionEmbedding.rotary
        return Layout(
            Ends(sequences.cu_seqlens.int(), int(lengths.max()))
            if flash_reads(x)
            else bucket_by_length(lengths, config.num_attention_heads, x.device),
            rotation(sequences.position_ids, int(lengths.max()), config.head_dim, config.rope_theta)
            if rotary
            else None,
        )


class Pooler(nn.Module):
    """One vector for a whole sequence, read off its `[CLS]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)

    def forward(self, cls: Tensor) -> Tensor:
        return self.dense(cls).tanh()


class MaskedLanguageModelHead(nn.Module):
    """From a token's vector to a score for each word; the words' vectors are the embedding's."""

    def __init__(self, config: ModelConfig, word_embedding: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)
        self.act = activation(config.hidden_act)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps, bias=config.bias)
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
        self.config = config
        self.encoder = Encoder(config, vocab_size)
        self.pooler = Pooler(config)
        self.mlm_head = MaskedLanguageModelHead(config, self.encoder.embeddings.word)
        self.nsp_head = nn.Linear(config.hidden_size, 2)
        self.apply(self._initialize)
        position = self.encoder.embeddings.position
        if config.sinusoidal_init and position is not None:
            scale = 2 * config.initializer_range * 2**0.5  # the mean square of a sine is 1/2
            position.weight.data.copy_(scale * sinusoids(*position.weight.shape))

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def compile_blocks(self) -> None:
        """Has torch compile each block, in place: the names of the parameters stay."""
        for block in self.encoder.blocks:
            block.compile(dynamic=True)

    def forward(self, sequences: Sequences) -> Encoded:
        hidden = self.encoder(sequences)
        return Encoded(hidden, self.pooler(hidden[sequences.cu_seqlens[:-1]]))


@contextmanager
def inference_mode(model: BertForPreTraining) -> Iterator[None]:
    """Without dropout and gradients; afterwards the model is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
