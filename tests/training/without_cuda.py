"""train.py without the checks for CUDA: starts the strategies of GPUs in processes on CPU.

With DOUBLE in the environment all numbers are fp64, which these strategies' precisions lack.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from bert_lightning.cli import app as cli
from bert_lightning.config import TrainConfig
from bert_lightning.reports.run_report import report
from bert_lightning.sizing import devices
from bert_lightning.training.fit import fit


def train(config: TrainConfig) -> None:
    result = fit(config)
    if result.is_main:
        print(report(result))


def let_deepspeed_run_on_cpu() -> None:
    import deepspeed
    from lightning.pytorch.accelerators import CPUAccelerator
    from lightning.pytorch.strategies import deepspeed as module

    def initialize(args: Any, **options: Any) -> Any:
        args.device_rank = 0  # of a GPU it would be the index
        return original(args=args, **options)

    original, deepspeed.initialize = deepspeed.initialize, initialize
    module.CUDAAccelerator = CPUAccelerator
    module._validate_device_index_selection = lambda _: None


if __name__ == "__main__":
    if "DOUBLE" in os.environ:
        torch.set_default_dtype(torch.float64)
    if "strategy=deepspeed" in sys.argv:
        let_deepspeed_run_on_cpu()
    devices.check_supported = lambda *_: None
    cli.run(Path(__file__).parents[2] / "conf", train)
