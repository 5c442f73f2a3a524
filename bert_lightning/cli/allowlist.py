"""What a config may have Hydra build or call: Hydra's own parts, and nothing else.

None of this project's options names code, but Hydra builds whatever `_target_` names under `hydra:`
when a run starts, and logging whatever its settings name. A config that came from somebody else
must not run code on that way.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from bert_lightning.config.affects import leaves
from bert_lightning.errors import UserError

_ALLOWED = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.")
"""Hydra's launchers, sweepers and callbacks, and those of plugins that are installed as such."""
_ALLOWED_LOGGING = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def forget_the_environment() -> None:
    """Has configs not read environment variables: what they resolve to stands in logs,
    checkpoints and TensorBoard, where no secret should."""
    OmegaConf.clear_resolver("oc.env")


def refuse_foreign_code(config: DictConfig) -> None:
    """Looks through a whole composed config, Hydra's part included, before anything is built.

    Raises:
        UserError: it names code that is not on the list.
    """
    values: Any = OmegaConf.to_container(config)  # as it stands: nothing is resolved
    for name, value in leaves(values, lists=True):
        key = name.rpartition(".")[2]
        logs = name.startswith(("hydra.job_logging.", "hydra.hydra_logging."))
        if key == "_target_":
            allowed = str(value).startswith(_ALLOWED)
        elif logs and key == "class":
            allowed = value in _ALLOWED_LOGGING
        elif logs and key == "()":
            allowed = False
        elif logs and isinstance(value, str) and "ext://" in value:
            allowed = value in _STREAMS
        else:
            continue
        if not allowed:
            raise UserError(
                f"{name}={value!s}: a config may not name code to run, but for Hydra's own "
                "launchers and sweepers; take this out of the config"
            )
