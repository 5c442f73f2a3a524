"""What a user got wrong in a config, in words; Hydra and OmegaConf say it for programmers."""

import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
    ValidationError,
)

from bert_lightning.config import PhaseConfig, TrainConfig
from bert_lightning.errors import UserError, did_you_mean

_EXPECTED = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    PhaseConfig: "a phase such as {fraction: 0.9, max_length: 128}",
    list[PhaseConfig]: "a list such as [{fraction: 0.9, max_length: 128}, {fraction: 0.1}]",
}
_LISTED: dict[Any, str] = {PhaseConfig: "batch.phases"}
"""Where a section stands that is an entry of a list, which OmegaConf forgets."""
_GROUPS = (*get_type_hints(TrainConfig), "arch", "experiment")


def explain(error: BaseException) -> str | None:
    """What to tell the user of an error; None where it is not theirs."""
    chain = _causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            return _explain_missing(cause)
        if isinstance(cause, ConfigKeyError | AttributeError) and hasattr(cause, "full_key"):
            return unknown_key(_full_key(cause))
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key} is missing, and has no default"
        if isinstance(cause, ValidationError):
            return _explain_value(cause)
    for cause in chain:
        message = str(cause).split("\n", 1)[0]
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: this is not an override of the form key=value"
        if isinstance(cause, HydraException):
            return _explain_composition(message)
        if isinstance(cause, UnsupportedInterpolationType):
            return (
                f"{cause.full_key}: {message}: a config reads no environment variables and runs no "
                "code; write the value itself, or let the shell put it in: data.path=$TEXTS"
            )
        if isinstance(cause, OmegaConfBaseException):
            return f"{cause.full_key}: {message}" if cause.full_key else message
        if isinstance(cause, ValueError) and message.startswith("Config group override must be"):
            return _explain_group(sys.argv[1:])
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
    for override in overrides:
        group, _, _ = override.partition("=")
        if group in _GROUPS and not isinstance(OmegaConf.from_dotlist([override])[group], str):
            return f"{override}: expects the name of a file in conf/{group}"
    return "a config group expects the name of one of its files, as in model=tiny"


def unknown_key(full_key: str) -> str:
    """What to say of a key that the config does not have: the nearest that it has."""
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
        name, listed, _ = part.partition("[")
        hint = get_type_hints(owner).get(name) if owner else None
        hint = _section(hint) if listed else hint
    return hint


def _section(hint: Any) -> Any:
    """The dataclass behind `X`, `X | None` or `list[X] | None`."""
    if is_dataclass(hint):
        return hint
    return next((found for part in get_args(hint) if (found := _section(part))), None)


def _full_key(error: Any) -> str:
    place = _LISTED.get(getattr(error, "object_type", None))
    return str(error.full_key) if place is None else f"{place}[…].{error.full_key}"


def _explain_value(error: ValidationError) -> str:
    full_key = _full_key(error)
    hint = _declared(full_key)
    kind, *others = get_args(hint) or (hint,)
    value = "null" if error.value is None else error.value
    or_null = " or null" if others else ""
    if kind in _EXPECTED:
        return f"{full_key}={value}: expects {_EXPECTED[kind]}{or_null}"
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
        return f"there is no '{group}' to override{did_you_mean(group, _GROUPS)}"
    override = message.removeprefix("Error merging override ")
    if override.startswith("~"):
        return f"{override}: no key can be taken out; give it another value"
    hint = _declared(override.partition("=")[0])
    kind, *_ = get_args(hint) or (hint,)
    return f"{override}: expects {_EXPECTED[kind]}" if kind in _EXPECTED else message
