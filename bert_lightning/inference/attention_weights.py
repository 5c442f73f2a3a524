"""The attention of a model in a text: how much each token takes from each other, head by head.

No kernel of attention returns its weights, so they are computed again from the same input.
"""

from dataclasses import dataclass
from textwrap import shorten

import torch
from torch import Tensor, nn

from bert_lightning.corpus.tokenizer import Encoding
from bert_lightning.inference.represent import run
from bert_lightning.model.attention import Layout, SelfAttention
from bert_lightning.model.bert import BertForPreTraining


@dataclass(frozen=True, eq=False, repr=False)
class Attention:
    """The attention weights of a text, or of a pair."""

    tokens: list[str]
    """The model's input, with `[CLS]` and `[SEP]`."""
    segments: list[int]
    """Of each token 0, or 1 in the second text of a pair."""
    weights: Tensor
    """`(layers, heads, tokens, tokens)` float32 on the CPU: the weight with which a token, the row,
    takes the value of another, the column. Each row sums to 1."""

    def __repr__(self) -> str:
        layers, heads, length, _ = self.weights.shape
        text = shorten(" ".join(self.tokens), 80, placeholder=" …")
        return f"Attention({text}; {layers} layers × {heads} heads × {length} tokens)"


def attention_weights(model: BertForPreTraining, encoding: Encoding) -> Attention:
    """Runs the model on a tokenized text without dropout, and returns the weights it used."""
    found: list[Tensor] = []

    def collect(attention: nn.Module, inputs: tuple[Tensor, Layout]) -> None:
        assert isinstance(attention, SelfAttention)
        found.append(weights_of(attention, *inputs))

    parts = [part for part in model.modules() if isinstance(part, SelfAttention)]
    hooks = [part.register_forward_pre_hook(collect) for part in parts]
    try:
        run(model, [encoding])
    finally:
        for hook in hooks:
            hook.remove()
    weights = torch.stack(found).float().cpu().clone()  # the copy is usable with autograd
    return Attention(encoding.tokens, encoding.type_ids, weights)


def weights_of(attention: SelfAttention, x: Tensor, layout: Layout) -> Tensor:
    """Computes the weights of one sequence by the equations of `attend_in_buckets`.

    Args:
        attention: one layer's.
        x: `(length, hidden)`, its input.
        layout: that of a batch of this sequence alone.

    Returns:
        `(heads, length, length)`, whose rows sum to 1.
    """
    qkv = attention.query_key_value(x).view(len(x), 3, attention.heads, attention.head_dim)
    query, key, _ = qkv.unbind(1)  # each (length, heads, head_dim)
    if attention.query_norm is not None and attention.key_norm is not None:
        query, key = attention.query_norm(query), attention.key_norm(key)
    if layout.positions:
        query, key = (attention.turn(part, layout.positions) for part in (query, key))
    scores = torch.einsum("qhd,khd->hqk", query, key) * attention.head_dim**-0.5
    return scores.softmax(-1)
