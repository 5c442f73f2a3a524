"""A composed config as dataclasses, which know their types and check themselves."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.cli.explain import explain, unknown_option
from bert_lightning.cli.schema import in_use
from bert_lightning.errors import UserError


def to_typed(config: DictConfig, folder: str | None = None) -> Any:
    """Turns a composed config into dataclasses, which check themselves.

    `folder` is the one that Hydra made for the run; the config may name another.

    Raises:
        UserError: a value is not allowed, cannot be resolved, or belongs to no option.
    """
    try:
        typed = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(typed, in_use().config)
    _refuse_added_keys(typed)
    return typed if typed.run_dir is not None else replace(typed, run_dir=folder)


def _refuse_added_keys(section: Any, path: str = "") -> None:
    """`+key=value` gets past the schema; nothing would read it."""
    known = {field.name for field in fields(section)}
    for name, value in vars(section).items():
        if name not in known:
            raise UserError(unknown_option(f"{path}{name}"))
        if is_dataclass(value):
            _refuse_added_keys(value, f"{path}{name}.")
