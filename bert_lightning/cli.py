"""From the command line to a typed config: the only room that knows Hydra.

Hydra composes `conf/`; the schema types every value; what a user gets wrong becomes one message
and exit code 2.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from bert_lightning.config import TrainConfig
from bert_lightning.errors import UserError, did_you_mean

_TRACEBACK_WANTED = "HYDRA_FULL_ERROR"
_EXPECTED = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false"}


def run(config_dir: Path, task: Callable[[TrainConfig], None]) -> None:
    """Composes the config of the command line and runs the task on it, or on each of a sweep.

    A mistake of the user's ends the process with one message on standard error and exit code 2;
    `debug=traceback` or the environment's HYDRA_FULL_ERROR=1 shows the traceback as well.
    """
    traceback_wanted = os.environ.get(_TRACEBACK_WANTED) == "1" or "debug=traceback" in sys.argv
    register_schema()

    mistakes: list[UserError] = []

    def job(config: DictConfig) -> None:
        try:
            task(to_typed(config))
        except UserError as error:
            if traceback_wanted:
                raise
            _tell(str(error))
            mistakes.append(error)  # the other jobs of a sweep go on

    main = hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")(job)
    # Hydra would print its own message and exit with 1; with this set it raises instead.
    os.environ[_TRACEBACK_WANTED] = "1"
    try:
        main()
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        message = explain(error)
        if message is None or traceback_wanted:
            raise
        _tell(message)
        raise SystemExit(2) from None
    if mistakes:
        raise SystemExit(2)


def register_schema() -> None:
    """Lets `conf/train.yaml` begin with the schema that types every key."""
    ConfigStore.instance().store("schema", TrainConfig)


def compose(config_dir: Path, overrides: Sequence[str]) -> TrainConfig:
    """The typed config of these overrides, for scripts and tests that start no run."""
    register_schema()
    with hydra.initialize_config_dir(str(config_dir.absolute()), version_base="1.3"):
        return to_typed(hydra.compose("train", list(overrides)))


def to_typed(config: DictConfig) -> TrainConfig:
    """Turns a composed config into dataclasses, which check themselves."""
    typed = OmegaConf.to_object(config)
    assert isinstance(typed, TrainConfig)
    return typed


def explain(error: BaseException) -> str | None:
    """What to tell the user of an error; None where it is not theirs."""
    chain = _causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            return _explain_missing(cause)
        if isinstance(cause, ConfigKeyError | AttributeError) and hasattr(cause, "full_key"):
            return _explain_key(str(cause.full_key))
        if isinstance(cause, ValidationError):
            return _explain_value(cause)
    for cause in chain:
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: this is not an override of the form key=value"
        if isinstance(cause, HydraException):
            return _explain_composition(str(cause))
        if isinstance(cause, OSError) and cause.filename is not None:
            return (
                f"the run's folder {Path(str(cause.filename)).absolute()} cannot be made: "
                f"{cause.strerror}; hydra.run.dir=FOLDER names another"
            )
    return None


def _causes(error: BaseException | None) -> list[BaseException]:
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _explain_missing(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    if not group:
        return str(error).split("\n", 1)[0]
    if "," in name:
        return (
            f"{group}={name} names several; add -m to run one after the other: "
            f"python train.py -m {group}={name}"
        )
    return (
        f"{group}={name}: there is no such {group}; there are {', '.join(options)}"
        + did_you_mean(name, options)
    )


def _explain_key(full_key: str) -> str:
    *path, name = full_key.split(".")
    owner: Any = TrainConfig
    for part in path:
        owner = _section(get_type_hints(owner).get(part)) if is_dataclass(owner) else None
    section = ".".join(path)
    known = [field.name for field in fields(owner)] if is_dataclass(owner) else []
    where = f"{section} has" if section else "the config has"
    return f"{where} no key '{name}'" + (
        did_you_mean(name, known) or (f"; it has {', '.join(known)}" if known else "")
    )


def _section(hint: Any) -> Any:
    """The dataclass behind `X` or `X | None`."""
    return next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)


def _explain_value(error: ValidationError) -> str:
    message = str(error).split("\n", 1)[0]
    for kind, expected in _EXPECTED.items():
        if f"could not be converted to {kind}" in message:
            value = message.split("'")[1] if "'" in message else "?"
            return f"{error.full_key}={value}: expects {expected}"
    return f"{error.full_key}: {message}"


def _explain_composition(message: str) -> str:
    first = message.split("\n", 1)[0]
    if "Ambiguous value for argument" in first:
        override = first.split("'")[1]
        return (
            f"{override} names several values; add -m to run one after the other: "
            f"python train.py -m {override}"
        )
    if "Could not override" in first:
        group = first.split("'")[1].split("@")[0]
        groups = [field.name for field in fields(TrainConfig)] + ["experiment"]
        return f"there is no '{group}' to override{did_you_mean(group, groups)}"
    return first


def _tell(message: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write(f"error: {message}\n")
