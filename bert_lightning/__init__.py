"""BERT, pretrained with PyTorch Lightning and Hydra.

import bert_lightning

result = bert_lightning.fit("model=tiny", "trainer.max_steps=200")
result.bert.encode("a crane is flying").word("crane")

bert = bert_lightning.load("runs/...")
"""

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

# Everything is imported when it is used: torch takes seconds, importlib.metadata a tenth of one.
if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from bert_lightning.api.result import RunResult
    from bert_lightning.config import TrainConfig
    from bert_lightning.inference.loaded import PretrainedBert

    __version__: str

__all__ = ["TrainConfig", "__version__", "fit", "load"]


def fit(
    *config: "TrainConfig | str | list[str]",
    callbacks: "Sequence[Callback]" = (),
    loggers: "Sequence[Logger]" = (),
) -> "RunResult":
    """Pretrains a BERT, as `bert-lightning train` does, and returns the result.

    fit()                                            trains with the defaults
    fit("model=mini", "data.path=books")             takes the options of the command line
    fit(TrainConfig(seed=1, optim=OptimConfig(lr=1e-3)))   takes a whole config

    The run has a folder, by default a new one below `runs`, with its checkpoints, curves and
    `train.log`. An interrupt (Ctrl-C, or the stop button of a notebook) saves a checkpoint after
    the current step; `fit("resume=runs/...")` resumes from it. A run of several devices trains in
    processes of its own, and returns the same result.

    Args:
        config: options, each a string or in a list of strings; or one `TrainConfig`.
        callbacks: Lightning callbacks that are added to the run's own.
        loggers: Lightning loggers that are added to the run's own.

    Returns:
        The result: `.bert` is the trained model, `.curves` are the logged values, `.summary` are
        the final scores, `.plot()` draws the losses, and `.run_dir` is the folder.

    Raises:
        UserError: a mistake in the options or the data; the message says what to change.
        RunEnded: the run was interrupted; the message names its checkpoint.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, in a notebook
        from bert_lightning.api.fit import fit as train

    return train(*config, callbacks=callbacks, loggers=loggers)


def load(path: str | PathLike[str]) -> "PretrainedBert":
    """Loads a trained model; see :func:`bert_lightning.inference.loaded.load`.

    Args:
        path: a run folder, a checkpoint file, a folder of runs, of which the newest is taken, a
            folder with a BERT in Hugging Face's format, or the name of one on its hub.
    """
    from bert_lightning.inference.loaded import load

    return load(path)


def __getattr__(name: str) -> Any:
    if name == "TrainConfig":
        from bert_lightning.config import TrainConfig

        return TrainConfig
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("bert-lightning")
        except PackageNotFoundError:  # a checkout that is not installed
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
