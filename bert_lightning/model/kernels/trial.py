"""A trial of the kernels on this machine's GPU: one that fails there is not used.

A GPU, a driver or a Triton that nobody has tried yet may refuse a kernel or compute it wrong. So
each kernel first computes a small example, against the plain lines that define it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bert_lightning.batch import pack_sequences
from bert_lightning.model.attention import attend_in_buckets, bucket_by_length
from bert_lightning.model.kernels.available import switch_off, triton_runs
from bert_lightning.model.linear_cross_entropy import cross_entropy

LENGTHS = np.array([5, 40, 100])
"""Of the sequences: one in each size of tile."""
TOLERANCE = 0.05
"""Of 16-bit results of size 1."""


def try_kernels(device: torch.device) -> None:
    """Tries the kernels on a GPU, once in a process; after a failure plain PyTorch computes."""
    if device.type != "cuda" or not triton_runs():
        return
    for kernel, trial in TRIALS.items():
        try:
            with torch.random.fork_rng([device]):
                wrong = trial(device, torch.bfloat16)
        except Exception as error:  # whatever a compiler or a driver raises
            wrong = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if wrong:
            switch_off(f"the kernel of {kernel} fails its trial on this GPU: {wrong}")
            triton_runs()  # says so
            return


def _try_cross_entropy(device: torch.device, dtype: torch.dtype) -> str:
    from bert_lightning.model.kernels.cross_entropy import cross_entropy as by_kernel

    logits = 4 * _normal(device, dtype, 7, 10_000)
    labels = torch.arange(7, device=device) * 1_000
    return _difference(by_kernel(logits.clone(), labels), cross_entropy(logits.float(), labels))


def _try_attention(device: torch.device, dtype: torch.dtype) -> str:
    from bert_lightning.model.kernels.attention_tiles import Tiles

    zeros = np.zeros(LENGTHS.sum(), np.int64)
    tiles = Tiles.of(pack_sequences(zeros, zeros, LENGTHS).on(device))
    buckets = bucket_by_length(LENGTHS, 2, device)
    qkv = _normal(device, dtype, len(zeros), 3, 2, 64).requires_grad_()
    results = []
    for mixed in (tiles.attend(qkv, 0.0), attend_in_buckets(qkv, buckets, 0.0)):
        results.append((mixed, *torch.autograd.grad(mixed.float().square().sum(), qkv)))
    if wrong := _difference(*results):
        return wrong
    kept = tiles.attend(torch.ones_like(qkv), 0.5).float().mean()
    return "" if abs(kept.item() - 1) < 10 * TOLERANCE else f"dropout makes 1 {kept.item():g}"


TRIALS: dict[str, Callable[[torch.device, torch.dtype], str]] = {
    "the cross-entropy": _try_cross_entropy,
    "attention": _try_attention,
}
"""Each returns what is wrong with a kernel, or nothing."""


def _normal(device: torch.device, dtype: torch.dtype, *shape: int) -> Tensor:
    """Returns numbers of a normal distribution, the same in each call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _difference(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    for one, other in zip(found, expected, strict=True):
        far = (one.float() - other.float()).abs() / (1 + other.float().abs())
        if not far.max() < TOLERANCE:  # NaN as well
            return f"results differ by {far.max().item():g}, {TOLERANCE:g} at most are expected"
    return ""
