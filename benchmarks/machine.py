"""Describes the machine that a benchmark runs on."""

import os
import platform
import re
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
