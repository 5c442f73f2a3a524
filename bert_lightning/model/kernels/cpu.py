"""Passes over bf16 values on CPU, in C: compiled by gcc in a third of a second, once a process.

PyTorch makes a pass over memory for each operation, and some of its bf16 operations are slow. Each
function equals plain lines that run where there is no gcc.
"""

import ctypes
import logging
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

_log = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fPIC",
    "-shared",
)


def lacks() -> str | None:
    """Returns what is missing to compile the functions; None where nothing is."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "they are for Linux on x86-64"
    return None if shutil.which("gcc") else "there is no gcc"


@cache
def library() -> ctypes.CDLL | None:
    """Returns the compiled functions; None where they cannot be compiled, and the log says why."""
    missing = lacks()
    if missing is None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "cpu.so")
            command = ["gcc", *_FLAGS, str(_SOURCE), "-o", str(path), "-lm"]
            done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:  # a folder may forbid programs
                missing = f"{done.stderr.strip() or error}"
    _log.info("bf16 on CPU trains slower without functions compiled by gcc: %s", missing)
    return None


class Drawn(NamedTuple):
    """What dropout draws: a value is kept if its bits are at least `lowest`, and then scaled."""

    bits: Tensor | None
    """int16, one for each value; None keeps all."""
    lowest: int
    scale: float

    def about(self, x: Tensor) -> "Drawn":
        """Returns the same with bits: without any, those of `x` itself, as all are high enough."""
        return self if self.bits is not None else Drawn(x.view(torch.int16), -(2**15), self.scale)


def fits(x: Tensor) -> bool:
    """Returns whether the functions compute with values such as `x`."""
    return x.device.type == "cpu" and x.dtype is torch.bfloat16 and library() is not None


def cross_entropy(
    logits: Tensor, bias: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes `linear_cross_entropy.cross_entropy` of `logits + bias` in place, and the gradient
    of the bias in 32 bits.

    `logits` is `(rows, words)`, `bias` `(words,)` in 32 bits, and `labels` `(rows,)` or fewer.
    """
    rows, words = len(labels), logits.shape[1]
    threads = torch.get_num_threads()
    nll, correct = torch.empty(2, rows)
    buffers = torch.zeros(threads, 2, words)
    most = -torch.tensor(torch.finfo(torch.float32).tiny).log().item()
    _call(
        "cross_entropy", logits, bias.contiguous(), labels, rows, words, most, nll, correct,
        buffers, threads,
    )  # fmt: skip
    logits[rows:] = 0
    return nll.sum(), correct.sum(), logits, buffers[:, 0].sum(0)


def accumulate(sums: Tensor, values: Tensor) -> Tensor:
    """Returns `sums.add_(values)`, of 32 and of 16 bits."""
    _call("accumulate", sums, values.contiguous(), sums.numel(), torch.get_num_threads())
    return sums


def add_norm(
    x: Tensor, more: Tensor, drawn: Drawn, weight: Tensor, bias: Tensor | None, eps: float
) -> Tensor:
    """Computes the LayerNorm of `x + dropout(more)`, all `(rows, width)`; its sums are in 32 bits.

    `weight` and `bias` are `(width,)` in 32 bits.
    """
    return _AddNorm.apply(x, more, drawn, weight, bias, eps)


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, x: Tensor, more: Tensor, drawn: Drawn, weight: Tensor, bias: Tensor | None, eps: float
    ) -> Tensor:
        x, more = x.contiguous(), more.contiguous()
        rows, width = x.shape
        total, out = torch.empty_like(x), torch.empty_like(x)
        means, scales = torch.empty(2, rows)
        _call(
            "add_norm", x, more, *drawn.about(more), weight, bias, eps, rows, width, total, out,
            means, scales, torch.get_num_threads(),
        )  # fmt: skip
        ctx.save_for_backward(total, weight, means, scales, drawn.bits)
        ctx.drawn, ctx.has_bias = drawn._replace(bits=None), bias is not None
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        total, weight, means, scales, bits = ctx.saved_tensors
        rows, width = total.shape
        grad_x, grad_more = torch.empty_like(total), torch.empty_like(total)
        drawn = ctx.drawn._replace(bits=bits).about(total)
        threads = torch.get_num_threads()
        buffers = torch.zeros(threads, 2, width)
        _call(
            "add_norm_backward", grad.contiguous(), total, *drawn, weight, means, scales, rows,
            width, grad_x, grad_more, buffers, threads,
        )  # fmt: skip
        grad_weight, grad_bias = buffers.sum(0)
        return grad_x, grad_more, None, grad_weight, grad_bias if ctx.has_bias else None, None


def _call(name: str, *values: Tensor | float | None) -> None:
    """Calls a function of the library; tensors must be contiguous."""
    of = library()
    assert of is not None
    getattr(of, name)(*map(_argument, values))


def _argument(value: Tensor | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if value is None:
        return ctypes.c_void_p()
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int64(value)
