"""Describes the machine that a benchmark runs on."""

import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import torch


def machine() -> dict[str, Any]:
    """Returns the machine and its present load in plain values."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    processor = re.search(r"model name\s*: (.*)", text)
    return {
        "processor": processor[1] if processor else platform.processor(),
        "cores": _cores(),
        "avx512_bf16": "avx512_bf16" in text,
        "amx_bf16": "amx_bf16" in text,
        "bf16_kernel": bf16_kernel(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("lightning"),
        "load_at_start": round(psutil.getloadavg()[0], 2),
    }


def _cores() -> int | None:
    """Returns the cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def bf16_kernel() -> str | None:
    """Returns oneDNN's name of what multiplies bf16 matrices on CPU; None where it does not.

    It ends with `amx` or `avx512_core_bf16`. ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment
    keeps oneDNN from AMX, so that one machine can measure both.
    """
    if not torch.backends.mkldnn.is_available():
        return None
    matrix = torch.ones(64, 64, dtype=torch.bfloat16)
    sys.stdout.flush()
    stdout = os.dup(1)
    with TemporaryFile() as told:
        os.dup2(told.fileno(), 1)  # oneDNN's own way to tell it
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                matrix @ matrix
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        told.seek(0)
        found = re.search(rb",exec,cpu,matmul,([^,]+),", told.read())
    return found[1].decode() if found else None
