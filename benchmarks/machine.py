"""Describes the machine that a benchmark runs on, and the memory that a process used there."""

import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
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
        "cores": os.cpu_count(),
        "bf16_products": "avx512_bf16" in text or "amx_bf16" in text,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("lightning"),
        "load_at_start": round(psutil.getloadavg()[0], 2),
    }


def peak_memory() -> int:
    """Returns the most memory, in bytes, that this process has held so far.

    On macOS and Windows, that of the process that started it may count until it holds more itself.
    """
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(peak[1]) * 1024
    import resource

    bytes_of_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_of_unit
