"""The encoder written out on padded sequences, one operation at a time, from its weights alone."""

import torch
from torch import Tensor, nn

from bert_lightning.batch import Sequences
from bert_lightning.config import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    PositionEmbedding,
)


def padded_encoder(weights: dict[str, Tensor], config: ModelConfig, sequences: Sequences) -> Tensor:
    """`(total, hidden)`, by way of `(sequences, longest, hidden)`."""
    lengths = sequences.lengths.tolist()

    def pad(flat: Tensor) -> Tensor:
        return nn.utils.rnn.pad_sequence(list(flat.split(lengths)), batch_first=True)

    def norm(x: Tensor, name: str) -> Tensor:
        variance, mean = torch.var_mean(x, -1, keepdim=True, correction=0)
        scaled = (x - mean) / (variance + config.layer_norm_eps).sqrt()
        return scaled * weights[f"{name}.weight"] + weights.get(f"{name}.bias", 0)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def act(x: Tensor) -> Tensor:
        if config.hidden_act is HiddenAct.relu:
            return x.clamp(min=0)
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    def turn(x: Tensor) -> Tensor:  # (sequences, length, heads, head_dim) as complex numbers
        half = x.shape[-1] // 2
        rates = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float64), rates)
        turned = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angles)[:, None]
        return torch.cat([turned.real, turned.imag], -1).to(x.dtype)

    def attend(x: Tensor, name: str) -> Tensor:
        shape = (*x.shape[:2], config.num_attention_heads, -1)
        q, k, v = (part.view(shape) for part in linear(x, f"{name}.query_key_value").chunk(3, -1))
        if config.qk_norm:
            q, k = norm(q, f"{name}.query_norm"), norm(k, f"{name}.key_norm")
        if config.position_embedding is PositionEmbedding.rotary:
            q, k = turn(q), turn(k)
        scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / config.head_dim**0.5
        scores = scores.masked_fill(~real[:, None, None], float("-inf"))
        return linear(torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), v).flatten(2), name_out)

    def feed_forward(x: Tensor, name: str) -> Tensor:
        inner = linear(x, f"{name}.up")
        if config.feed_forward is FeedForwardKind.glu:
            gate, inner = inner.chunk(2, -1)
            return linear(act(gate) * inner, f"{name}.down")
        return linear(act(inner), f"{name}.down")

    ids, types = pad(sequences.token_ids), pad(sequences.token_type_ids)
    real = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    x = weights["embeddings.word.weight"][ids] + weights["embeddings.token_type.weight"][types]
    if config.position_embedding is PositionEmbedding.learned:
        x = x + weights["embeddings.position.weight"][: ids.shape[1]]
    x = norm(x, "embeddings.norm")
    for index in range(config.num_hidden_layers):
        block = f"blocks.{index}"
        name_out = f"{block}.attention.output"
        if config.norm is NormPlacement.pre:
            x = x + attend(norm(x, f"{block}.attention_norm"), f"{block}.attention")
            x = x + feed_forward(norm(x, f"{block}.feed_forward_norm"), f"{block}.feed_forward")
        else:
            x = norm(x + attend(x, f"{block}.attention"), f"{block}.attention_norm")
            x = norm(x + feed_forward(x, f"{block}.feed_forward"), f"{block}.feed_forward_norm")
    if config.norm is NormPlacement.pre:
        x = norm(x, "norm")
    return x[real]
