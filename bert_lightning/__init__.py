"""BERT, pre-trained with PyTorch Lightning and Hydra.

import bert_lightning

bert = bert_lightning.load("runs/...")
bert.encode("a crane is flying").word("crane")
"""

from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bert_lightning.inference.loaded import PretrainedBert

__all__ = ["__version__", "load"]

try:
    __version__ = version("bert-lightning")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


def load(path: str | PathLike[str]) -> "PretrainedBert":
    """Loads a trained model; see :func:`bert_lightning.inference.loaded.load`.

    Args:
        path: a run folder, a checkpoint file, a folder of runs, of which the newest is taken, a
            folder with a BERT in Hugging Face's format, or the name of one on its hub.
    """
    from bert_lightning.inference.loaded import load  # torch comes with it, in seconds

    return load(path)
