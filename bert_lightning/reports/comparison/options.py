"""The options of a run by their full names: which may differ, and which were changed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.config.affects import COMMAND, EXECUTION, PLACE, leaves, named, options
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import to_plain

KINDS: Mapping[str, type[RunConfig]] = {"train": TrainConfig, "finetune": FinetuneConfig}
"""The config of each command that starts runs."""


def plain_options(config: RunConfig) -> dict[str, Any]:
    """Returns all options of a run."""
    return dict(leaves(to_plain(asdict(config))))


def config_hash(options: Mapping[str, Any], kind: type[RunConfig]) -> str:
    """Returns the SHA-256 of the options of a run, those of one command alone left out."""
    of_command = named(kind, COMMAND)
    identity = {name: value for name, value in options.items() if name not in of_command}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def changed_options(config: RunConfig) -> dict[str, Any]:
    """Returns the options that differ from the defaults, those of one command alone left out."""
    defaults, of_command = plain_options(type(config)()), named(type(config), COMMAND)
    return {
        name: value
        for name, value in plain_options(config).items()
        if name not in of_command and value != defaults.get(name)
    }


def compared_options(kind: type[RunConfig]) -> list[str]:
    """Returns the names of the options that may tell runs apart.

    Those that only say how a run computes and what it shows come last; those of one command, and
    those that only say where something lies, are left out.
    """
    results = [one.name for one in options(kind) if one.affects & ~(COMMAND | EXECUTION | PLACE)]
    return results + [one.name for one in options(kind) if one.affects == EXECUTION]
