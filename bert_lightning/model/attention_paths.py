"""Which attention runs on a batch, and the kinds that only GPUs have.

On the CPU and in more than 16 bits it is :class:`Buckets`, in plain PyTorch. On CUDA in 16 bits:

| sequences | attention |
| --- | --- |
| all of up to 128 tokens | `Tiles`, a Triton kernel |
| all of one length: 256 tokens, 320, 384, … | :class:`Dense`, torch's SDPA, which prefers cuDNN |
| any other batch | :class:`Flash`, torch's variable-length flash kernel |

`Flash` also takes short sequences where Triton does not run, or where the size of a head is no
power of two from 16 to 128. All compute what `attend_in_buckets` defines. A batch takes one path:
with two, the long sequences would be gathered and their gradients scattered in each layer, with
about 20 times the memory traffic of one read of the queries: more than the tiles save.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from bert_lightning.batch import Sequences
from bert_lightning.config import ModelConfig
from bert_lightning.model.attention import Ends, bucket_by_length
from bert_lightning.model.kernels.available import triton_runs

DENSE_LENGTH, DENSE_STEP = 256, 64
"""The least length of dense attention, and what its lengths are multiples of. cuDNN plans each
shape anew, so it is for batches of full length, not for texts that happen to be equally long."""


def choose_attention(sequences: Sequences, x: Tensor, config: ModelConfig) -> Ends:
    """Returns the attention for the activations `x` `(total, hidden)` of these sequences."""
    lengths, longest = sequences.lengths, int(sequences.lengths.max())
    if not flash_reads(x):
        return bucket_by_length(lengths, config.num_attention_heads, x.device)
    if triton_runs():
        from bert_lightning.model.kernels.attention_tiles import HEAD_SIZES, TILES, Tiles

        if longest <= max(TILES) and config.head_dim in HEAD_SIZES:
            return Tiles.of(sequences)
    full = longest >= DENSE_LENGTH and longest % DENSE_STEP == 0
    if full and len(lengths) * longest == len(x):
        return Dense(longest)
    return Flash(sequences.cu_seqlens.int(), longest)


def flash_reads(x: Tensor) -> bool:
    """Returns whether flash attention can read these activations, `(total, hidden)`."""
    half = torch.is_autocast_enabled(x.device.type) or x.dtype in (torch.float16, torch.bfloat16)
    return x.is_cuda and half


class Dense(NamedTuple):
    """Sequences of one length, which need no padding: the batch is a view of what SDPA reads."""

    length: int

    def attend(self, qkv: Tensor, dropout_p: float) -> Tensor:
        """Computes `attend_in_buckets` by the first of these kernels that can."""
        kernels = [
            SDPBackend.CUDNN_ATTENTION,
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.MATH,
        ]
        parts = qkv.view(-1, self.length, *qkv.shape[1:]).unbind(2)
        # each (sequences, heads, length, head_dim)
        query, key, value = (part.transpose(1, 2) for part in parts)
        with sdpa_kernel(kernels, set_priority=True):
            mixed = scaled_dot_product_attention(query, key, value, dropout_p=dropout_p)
        return mixed.transpose(1, 2).reshape(len(qkv), *qkv.shape[2:])


class Flash(NamedTuple):
    """Sequences of any lengths."""

    cu_seqlens: Tensor
    """`(sequences + 1,)` int32."""
    longest: int

    def attend(self, qkv: Tensor, dropout_p: float) -> Tensor:
        """Computes `attend_in_buckets`, in one kernel that needs no padding.

        Of what torch builds on this operator, `torch.nn.attention.varlen` has no dropout, and
        jagged tensors keep the host too busy to feed the GPU. FlashAttention-3 has no dropout.
        """
        limits = (self.cu_seqlens, self.cu_seqlens, self.longest, self.longest)  # queries', keys'
        query, key, value = qkv.unbind(1)  # each (total, heads, head_dim)
        mixed: Tensor = torch.ops.aten._flash_attention_forward(
            query, key, value, *limits, dropout_p, False, False
        )[0]
        return mixed
