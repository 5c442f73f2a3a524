"""torch's compiler: whether a model is compiled, and which of its parts.

Compiled are the embeddings, what lies between attention and attention in the blocks, and the MLM
head up to its logits: torch fuses their activations, dropout, sums and norms. Attention and the
loss over the vocabulary have kernels of their own, and sizes that change with every batch.

The parts see a batch by its number of tokens alone. The first number is compiled as a constant,
which it stays where all examples have the full length; the second is compiled as a variable, and
no other number is compiled again.
"""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import MethodType
from typing import Any, cast

import torch
from torch import nn

from bert_lightning.model.bert import Bert, Block
from bert_lightning.model.kernels.available import triton_runs
from bert_lightning.model.objective import MaskedLanguageModeling

_log = logging.getLogger(__name__)
_COMPILERS = {"win32": "cl", "darwin": "clang++"}
"""The C++ compiler that torch calls, elsewhere g++."""


def should_compile(wanted: bool | None, on_gpu: bool) -> bool:
    """Returns whether to compile a model; the log says so, or what is missing.

    None is yes on GPUs. Without a compiler nothing is compiled, whatever is wanted.
    """
    if wanted is False or not (wanted or on_gpu):
        return False
    if on_gpu and not triton_runs():
        return False
    compiler = os.environ.get("CXX") or _COMPILERS.get(sys.platform, "g++")
    if not on_gpu and shutil.which(compiler) is None:
        _log.warning(
            "model.compile=true needs a C++ compiler on CPU, and there is no %s: nothing is "
            "compiled, with the same results; install one, or name it as CXX",
            compiler,
        )
        return False
    if wanted is None:
        _log.info(
            "torch compiles the model, a minute or two in the first steps; model.compile=false "
            "trains without"
        )
    return True


def compile_parts(model: Bert, backend: str = "inductor") -> None:
    """Compiles a model in place; its parameters keep their names, and copies are compiled too."""
    model.compiled = True
    for part, name in _parts(model):
        setattr(part, name, MethodType(_compiled(getattr(type(part), name), backend), part))


def _parts(model: Bert) -> Iterator[tuple[nn.Module, str]]:
    """Yields each part with its method."""
    yield model.encoder.embeddings, "forward"
    for block in cast(Iterator[Block], model.encoder.blocks):
        yield block.attention, "project"
        yield block, "add"
    for head in model.objectives.values():
        if isinstance(head, MaskedLanguageModeling):
            yield head, "transform"


@cache
def _compiled(method: Callable[..., Any], backend: str) -> Callable[..., Any]:
    return torch.compile(method, backend=backend)
