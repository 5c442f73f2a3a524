"""Which options there are, those of the command in use, and where the files of `conf` lie."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bert_lightning.config import LoggerConfig, RunConfig, TrainConfig
from bert_lightning.config.finetune import FinetuneConfig


class Schema(NamedTuple):
    """The options of a command."""

    command: str
    """Its name, which is that of its file in `conf` too."""
    config: type[RunConfig]
    defaults: Callable[[], RunConfig]
    """What the file in `conf` begins with."""


_NO_LOGGER = LoggerConfig(tensorboard=False)  # each of `conf/logger` adds one
SCHEMAS = {
    "train": Schema("train", TrainConfig, lambda: TrainConfig(logger=_NO_LOGGER)),
    "finetune": Schema("finetune", FinetuneConfig, lambda: FinetuneConfig(logger=_NO_LOGGER)),
}
_in_use = SCHEMAS["train"]


def use(command: str) -> Schema:
    """Makes a command's options those in use, until another command's are; returns them."""
    global _in_use
    _in_use = SCHEMAS[command]
    return _in_use


def in_use() -> Schema:
    """Returns the options of the command in use."""
    return _in_use


def conf_dir() -> Path:
    """Returns the folder of the configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).absolute().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"
