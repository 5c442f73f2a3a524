"""From the command line to a typed config: the only room that knows Hydra.

Hydra composes `conf/`; the schema types every value; what a user gets wrong becomes one message
and exit code 2.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import hydra
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from bert_lightning.config import TrainConfig
from bert_lightning.errors import UserError, did_you_mean

_TRACEBACK_WANTED = "HYDRA_FULL_ERROR"
_EXPECTED = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


def run(config_dir: Path, task: Callable[[TrainConfig], None]) -> None:
    """Composes the config of the command line and runs the task on it, or on each of a sweep.

    A mistake of the user's ends the process with one message on standard error and exit code 2;
    `debug=traceback` or the environment's HYDRA_FULL_ERROR=1 shows the traceback as well.
    """
    given = os.environ.get(_TRACEBACK_WANTED)
    traceback_wanted = given == "1" or "debug=traceback" in sys.argv
    register_schema()

    exit_codes: list[int] = []
    crashes: list[Exception] = []

    def job(config: DictConfig) -> None:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            with _environment(given):
                exit_codes.append(_run_alone(HydraConfig.get()))
            return
        try:
            with _environment(given):  # processes that the task starts inherit it
                task(to_typed(config))
        except Exception as error:
            show = traceback_wanted or config.debug == "traceback"
            if show or not isinstance(error, UserError):
                crashes.append(error)
                raise
            _tell(str(error))
            exit_codes.append(2)

    main = hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")(job)
    try:
        with _environment("1"):  # otherwise Hydra prints a message of its own and exits with 1
            main()
    except Exception as error:
        message = None if error in crashes else explain(error)
        if message is None or traceback_wanted:
            raise
        _tell(message)
        raise SystemExit(2) from None
    if any(exit_codes):
        raise SystemExit(max(exit_codes, key=abs))


def _run_alone(job: HydraConf) -> int:
    """Runs one job of a sweep as a process of its own; returns its exit code.

    The processes of several devices are started with the command line of their parent: a sweep's
    would run the whole sweep in each. So every job is a plain run, and one that fails stops none.
    """
    directory = f"hydra.run.dir='{job.runtime.output_dir}'"
    command = [sys.executable, sys.argv[0], *job.overrides.task, directory]
    return subprocess.run(command, check=False).returncode


@contextmanager
def _environment(traceback_wanted: str | None) -> Iterator[None]:
    before = os.environ.pop(_TRACEBACK_WANTED, None)
    if traceback_wanted is not None:
        os.environ[_TRACEBACK_WANTED] = traceback_wanted
    try:
        yield
    finally:
        os.environ.pop(_TRACEBACK_WANTED, None)
        if before is not None:
            os.environ[_TRACEBACK_WANTED] = before


def register_schema() -> None:
    """Lets `conf/train.yaml` begin with the schema that types every key."""
    ConfigStore.instance().store("schema", TrainConfig)


def compose(config_dir: Path, overrides: Sequence[str]) -> TrainConfig:
    """The typed config of these overrides, for scripts and tests that start no run."""
    register_schema()
    with hydra.initialize_config_dir(str(config_dir.absolute()), version_base="1.3"):
        return to_typed(hydra.compose("train", list(overrides)))


def compose_for_script(config_dir: Path, overrides: Sequence[str]) -> TrainConfig:
    """The typed config of a script's own command line; it writes to no run's folder.

    Raises:
        UserError: with the message that train.py would end with.
    """
    try:
        return compose(config_dir, ["run_dir=.", *overrides])
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        raise UserError(message) from error


def to_typed(config: DictConfig) -> TrainConfig:
    """Turns a composed config into dataclasses, which check themselves.

    Raises:
        UserError: where a value is not allowed, cannot be resolved, or belongs to no option.
    """
    try:
        typed = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(typed, TrainConfig)
    _refuse_added_keys(typed)
    return typed


def _refuse_added_keys(section: Any, path: str = "") -> None:
    """`+key=value` gets past the schema; nothing would read it."""
    known = {field.name for field in fields(section)}
    for name, value in vars(section).items():
        if name not in known:
            raise UserError(_explain_key(f"{path}{name}"))
        if is_dataclass(value):
            _refuse_added_keys(value, f"{path}{name}.")


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
        message = str(cause).split("\n", 1)[0]
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: this is not an override of the form key=value"
        if isinstance(cause, HydraException):
            return _explain_composition(message)
        if isinstance(cause, OmegaConfBaseException):
            return f"{cause.full_key}: {message}" if cause.full_key else message
        if isinstance(cause, ValueError) and message.startswith("Config group override must be"):
            return _explain_group(sys.argv[1:])
        if isinstance(cause, AssertionError) and message.startswith("Unexpected type for root"):
            return "a section that is null, as logger is with logger=none, has no keys to set"
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
        f"{group}={name}: there is no such {group}; there {'are' if len(options) > 1 else 'is'} "
        f"{', '.join(options)}{did_you_mean(name, options)}"
    )


def _explain_group(overrides: Sequence[str]) -> str:
    groups = {*get_type_hints(TrainConfig), "experiment"}
    for override in overrides:
        group, _, _ = override.partition("=")
        if group in groups and not isinstance(OmegaConf.from_dotlist([override])[group], str):
            none = " or logger=none" if group == "logger" else ""
            return f"{override}: expects the name of a file in conf/{group}{none}"
    return "a config group expects the name of one of its files, as in model=tiny"


def _explain_key(full_key: str) -> str:
    section, _, name = full_key.rpartition(".")
    owner = _section(_declared(section)) if section else TrainConfig
    known = [field.name for field in fields(owner)] if owner else []
    where = f"{section} has" if section else "the config has"
    return f"{where} no key '{name}'" + (
        did_you_mean(name, known) or (f"; it has {', '.join(known)}" if known else "")
    )


def _declared(full_key: str) -> Any:
    """The type that the schema gives a key; None where it knows none."""
    hint: Any = TrainConfig
    for part in full_key.split("."):
        owner = _section(hint)
        hint = get_type_hints(owner).get(part) if owner else None
    return hint


def _section(hint: Any) -> Any:
    """The dataclass behind `X` or `X | None`."""
    return next((part for part in (hint, *get_args(hint)) if is_dataclass(part)), None)


def _explain_value(error: ValidationError) -> str:
    hint = _declared(str(error.full_key))
    kind, *others = get_args(hint) or (hint,)
    value = "null" if error.value is None else error.value
    or_null = " or null" if others else ""
    if kind in _EXPECTED:
        return f"{error.full_key}={value}: expects {_EXPECTED[kind]}{or_null}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [member.name for member in kind]
        nearest = did_you_mean(str(value), names)
        return f"{error.full_key}={value}: expects {' or '.join(names)}{or_null}{nearest}"
    message = str(error).split("\n", 1)[0]
    return f"{error.full_key}: {message}"


def _explain_composition(message: str) -> str:
    if "Ambiguous value for argument" in message:
        override = message.split("'")[1]
        return (
            f"{override} names several values; add -m to run one after the other: "
            f"python train.py -m {override}"
        )
    if "Could not override" in message:
        group = message.split("'")[1]
        groups = [*get_type_hints(TrainConfig), "experiment"]
        return f"there is no '{group}' to override{did_you_mean(group, groups)}"
    if message.startswith("Error merging override ~"):
        return f"{message.split()[-1]}: no key can be taken out; give it another value"
    return message


def _tell(message: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write(f"error: {message}\n")
