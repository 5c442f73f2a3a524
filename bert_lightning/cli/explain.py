"""Messages for the mistakes in a config, in plain words; those of Hydra are for programmers."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
    ValidationError,
)

from bert_lightning.cli.schema import conf_dir, in_use
from bert_lightning.cli.search.settings import SECTION, SearchConfig
from bert_lightning.config.affects import options
from bert_lightning.config.limits import expected, kinds
from bert_lightning.config.trainer import NO_OPTIONS
from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.runs.launched import shown_command

_ELSEWHERE = {
    "bs": "batch.global_batch_size",
    "learning_rate": "optim.lr",
    "wd": "optim.weight_decay",
    "steps": "trainer.max_steps",
    "gpus": "trainer.devices",
    "nodes": "trainer.num_nodes",
    "fp16": "trainer.precision",
    "bf16": "trainer.precision",
    "num_train_epochs": "trainer.max_epochs",
    "per_device_train_batch_size": "batch.micro_batch_size",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "max_grad_norm": "trainer.gradient_clip_val",
    "mask_prob": "batch.masking.mlm_probability",
    "max_seq_length": "batch.max_length",
    "output_dir": "run_dir",
    "model_name_or_path": "init_from",
    "resume_from_checkpoint": "resume",
    "dataset": "data",
    "train_file": "data.path",
}
"""What other programs, most of them Hugging Face's scripts, call an option."""


def explain(error: BaseException, overrides: Sequence[str] = ()) -> str | None:
    """Returns the message for an error; None where it is not a mistake of the user.

    Some errors do not name the options that were given, `overrides`.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            return _explain_missing(cause)
        if isinstance(cause, ConfigKeyError | AttributeError) and hasattr(cause, "full_key"):
            return unknown_option(_full_name(cause))
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key} is missing, and has no default"
        if isinstance(cause, ValidationError):
            return _explain_value(cause)
    for cause in chain:
        message = str(cause).split("\n", 1)[0]
        if isinstance(cause, OverrideParseException):
            return _explain_unreadable(str(cause.override))
        if isinstance(cause, HydraException):
            return _explain_composition(message)
        if isinstance(cause, UnsupportedInterpolationType):
            return (
                f"{cause.full_key}: {message}: a config reads no environment variables and runs no "
                "code; write the value itself, or let the shell insert it: data.path=$TEXTS"
            )
        if isinstance(cause, OmegaConfBaseException):
            return f"{cause.full_key}: {message}" if cause.full_key else message
        if isinstance(cause, ValueError) and message.startswith("Config group override must be"):
            return _explain_group(overrides)
        if isinstance(cause, OSError) and cause.filename is not None:
            return (
                f"cannot create the run folder {Path(str(cause.filename)).absolute()}: "
                f"{cause.strerror}; hydra.run.dir=FOLDER chooses another"
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain_unreadable(override: str) -> str:
    name, equals, value = override.partition("=")
    if not equals:
        return f"{override}: this is not an override of the form option=value"
    quoted = QuotedString(value, Quote.single).with_quotes()
    return f"{override}: this value cannot be read as it stands; quote it: {name}={quoted}"


def _explain_missing(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return str(error).split("\n", 1)[0]
    if "," in name:
        return _several_values(f"{group}={name}")
    choices = sorted(error.options or [])
    nearest = did_you_mean(name, choices)
    return f"unknown {group} '{name}'; choose from {', '.join(choices)}{nearest}"


def _several_values(override: str) -> str:
    return (
        f"{override} names several values; -m runs them one after the other: "
        f"{shown_command('train')} -m {override}"
    )


def _explain_group(overrides: Sequence[str]) -> str:
    for override in overrides:
        group, _, _ = override.partition("=")
        if group in _groups() and not isinstance(OmegaConf.from_dotlist([override])[group], str):
            choices = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
            return f"{override}: choose from {', '.join(choices)}"
    return "a config group expects the name of one of its files, such as model=tiny"


def _groups() -> list[str]:
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir())


def unknown_option(full_name: str) -> str:
    """Returns the message for an option that does not exist; it names the most similar ones.

    That is `optim.lr` for `lr` and for `learning_rate`, `trainer.max_epochs` for `epochs`, or a
    similar name: in the same section first, then in all of them.
    """
    section, dot, name = full_name.rpartition(".")
    if section == SECTION:
        own = [field.name for field in fields(SearchConfig)]
        if name in own:
            return f"{full_name} belongs to a search: name one with hparams_search="
        return f"{full_name}: no such option{did_you_mean(name, own)}"
    if section == "trainer" and name in NO_OPTIONS:
        return f"{full_name}: no such option: {NO_OPTIONS[name]}"
    owner = _section(declared(section)) if section else in_use().config
    siblings = [field.name for field in fields(owner)] if owner else []
    if found := _meant(name) or _with_the_word(name, section):
        more = f"; did you mean {' or '.join(map(repr, found[:2]))}?"
    elif nearest := did_you_mean(name, siblings):
        more = nearest.replace("'", f"'{section}{dot}", 1)
    elif found := _alike(full_name):
        more = f"; did you mean {' or '.join(map(repr, found[:2]))}?"
    else:
        more = f"; {section or 'the config'} has {', '.join(siblings)}" if siblings else ""
    return f"{full_name}: no such option{more}"


def _meant(name: str) -> list[str]:
    """Returns the options that end in this name, or that are called by it elsewhere."""
    if name in _ELSEWHERE:
        return [_ELSEWHERE[name]]
    names = [option.name for option in options(in_use().config)]
    if (dotted := name.replace("_", ".", 1)) in names:
        return [dotted]
    same = [known for known in names if known.endswith(f".{name}")]
    return same or [known for known in names if known.endswith(f"_{name}")]


def _with_the_word(word: str, section: str) -> list[str]:
    """Returns the options that have this word in their names, those of the section first."""
    names = [option.name for option in options(in_use().config)]
    found = [known for known in names if word in _leaf(known).split("_")]
    return sorted(found, key=lambda known: known.rpartition(".")[0] != section)


def _alike(name: str) -> list[str]:
    """Returns the options whose names, or a word of whose names, are spelled alike."""
    names = [option.name for option in options(in_use().config)]
    spelled = {known: {known, leaf, *leaf.split("_")} for known in names for leaf in [_leaf(known)]}
    nearest = get_close_matches(name, set().union(*spelled.values()), n=1, cutoff=0.7)
    return [known for known, words in spelled.items() if words & set(nearest)]


def _leaf(full_name: str) -> str:
    return full_name.rpartition(".")[2]


def declared(full_name: str, section: type[Any] | None = None) -> Any:
    """Returns the type that a schema gives an option, by default that of the command in use.

    None where it knows none.
    """
    hint: Any = section or in_use().config
    for part in full_name.split("."):
        owner = _section(hint)
        name, entry, _ = part.partition("[")
        hint = get_type_hints(owner).get(name) if owner else None
        hint = _item(hint) if entry else hint
    return hint


def _section(hint: Any) -> type[Any] | None:
    """Returns the dataclass behind `X`, `X | None` or `list[X] | None`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for part in get_args(hint) if (found := _section(part))), None)


def _item(hint: Any) -> Any:
    """Returns the type of a list's items, behind `list[X]` or `list[X] | None`."""
    lists = [kind for kind in kinds(hint) if get_origin(kind) is list]
    return get_args(lists[0])[0] if lists else None


def _full_name(error: Any) -> str:
    """Returns the full name of an option; OmegaConf forgets the list of a list's entry."""
    kind = getattr(error, "object_type", None)
    for option in options(in_use().config):
        if is_dataclass(kind) and _section(option.hint) is kind:
            return f"{option.name}[…].{error.full_key}"
    return str(error.full_key)


def _explain_value(error: ValidationError) -> str:
    name = _full_name(error)
    kind, *others = kinds(declared(name))
    value = "null" if error.value is None else error.value
    if wanted := _expected(declared(name)):
        return f"{name}={value}: expects {wanted}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [member.name for member in kind] + ["null"] * bool(others)
        nearest = did_you_mean(str(value), names)
        return f"{name}={value}: choose from {', '.join(names)}{nearest}"
    return f"{name}: {str(error).split(chr(10), 1)[0]}"


def _expected(hint: Any) -> str | None:
    """Returns what values of a type are called; None where it has words or no name."""
    named = [kind for kind in kinds(hint) if isinstance(kind, type) and issubclass(kind, Enum)]
    return None if hint in (None, Any) or named else expected(hint)


def _explain_composition(message: str) -> str:
    if "Ambiguous value for argument" in message:
        return _several_values(message.split("'")[1])
    if "Could not override" in message:
        group = message.split("'")[1]
        return f"{group}: no such config group{did_you_mean(group, _groups())}"
    override = message.removeprefix("Error merging override ")
    if override.startswith("~"):
        return f"{override}: an option cannot be deleted; give it another value"
    wanted = _expected(declared(override.partition("=")[0]))
    return f"{override}: expects {wanted}" if wanted else message
