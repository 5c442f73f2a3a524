"""The allowlist of what a config may have Hydra build or call: Hydra's own parts, nothing else.

None of this project's options names code. But when a run starts, Hydra builds whatever `_target_`
names under `hydra:`, and logging builds whatever its settings name. A config from somebody else
must not run code that way.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from bert_lightning.config.affects import leaves
from bert_lightning.errors import UserError

_ALLOWED = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.")
"""Hydra's launchers, sweepers and callbacks, and those of installed plugins."""
_ALLOWED_LOGGING = (
    *("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"),
    "bert_lightning.log_file.LogFile",
)
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def refuse_foreign_code(config: DictConfig) -> None:
    """Checks a whole composed config, Hydra's part included, before anything is built.

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
                f"{name}={value!s}: a config may not name code to run, except for Hydra's own "
                "launchers and sweepers; remove it from the config"
            )
