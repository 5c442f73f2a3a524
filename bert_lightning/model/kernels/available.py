"""Whether Triton compiles kernels here; where it does not, plain PyTorch computes the same."""

import logging
import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

_log = logging.getLogger(__name__)
_failures: list[str] = []
"""What made a kernel fail in this process."""
_OLDEST = 8, 0
"""The compute capability of the oldest GPUs that multiply bf16."""


def triton_lacks() -> str | None:
    """Returns what Triton lacks to compile for the GPU in use; None where nothing is missing."""
    if _failures:
        return _failures[0]
    if find_spec("triton") is None:
        return "Triton is not installed; it comes with torch's CUDA builds for Linux"
    if (capability := torch.cuda.get_device_capability()) < _OLDEST:
        name, has, needs = torch.cuda.get_device_name(), *map(_dotted, (capability, _OLDEST))
        return f"{name} has compute capability {has}, and the kernels need {needs}"
    if not any(map(shutil.which, (os.environ.get("CC", ""), "gcc", "clang"))):
        return "Triton finds no C compiler: install gcc, or name one as CC"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Triton needs Python.h: install the headers of this Python, such as python3-dev"
    return None


@cache
def triton_runs() -> bool:
    """Returns whether Triton compiles for the GPU in use; if not, the log says once why not."""
    missing = triton_lacks()
    if missing is not None:
        _log.warning(
            "neither fused kernels nor torch's compiler, so training is slower: %s", missing
        )
    return missing is None


def switch_off(failure: str) -> None:
    """Has no kernel run in this process from now on."""
    _failures.append(failure)
    triton_runs.cache_clear()


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
