"""train.py without the checks for CUDA: starts the strategies of GPUs in processes on CPU.

With DOUBLE in the environment all numbers are fp64, which these strategies' precisions lack.
"""

import os
from pathlib import Path

import torch

from bert_lightning.cli import app as cli
from bert_lightning.cli.commands.train import train
from bert_lightning.sizing import devices

if __name__ == "__main__":
    if "DOUBLE" in os.environ:
        torch.set_default_dtype(torch.float64)
    devices.check_supported = lambda *_: None
    cli.run(Path(__file__).parents[1] / "conf", train)
