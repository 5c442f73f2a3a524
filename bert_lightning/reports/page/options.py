"""The options of a run beside their defaults, and the command that repeats it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bert_lightning.config.affects import COMMAND, named
from bert_lightning.reports.comparison.options import KINDS, plain_options

_OVERRIDES = Path(".hydra") / "overrides.yaml"
"""In the folder of a run that a command line started: the options as they were given."""
Row = tuple[str, str, str]
"""An option, its value, and its default."""


def changed(options: Mapping[str, Any], command: str) -> list[Row]:
    """Returns the options that differ from the defaults, those of one command alone left out."""
    kind = KINDS[command]
    defaults, left_out = plain_options(kind()), named(kind, COMMAND)
    return [
        (name, shown(value), shown(defaults[name]) if name in defaults else "–")
        for name, value in options.items()
        if name not in left_out and value != defaults.get(name)
    ]


def everything(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, shown(value)) for name, value in options.items()]


def command_line(folder: Path, options: Mapping[str, Any], command: str) -> str:
    """Returns a command that starts the same run in a new folder.

    It has the options that the run was started with; all that differ from the defaults, where
    Python started it.
    """
    words = _given(folder, command)
    if words is None:
        kind = KINDS[command]
        defaults, left_out = plain_options(kind()), named(kind, COMMAND)
        words = [
            f"{name}={as_given(value)}"
            for name, value in options.items()
            if name not in left_out and value != defaults.get(name)
        ]
    elif options.get("seed") != KINDS[command]().seed:  # it may have been drawn
        words = [*(word for word in words if not word.startswith("seed=")), _seed(options)]
    return shlex.join(["bert-lightning", command, *words])


def _seed(options: Mapping[str, Any]) -> str:
    return f"seed={options.get('seed')}"


def _given(folder: Path, command: str) -> list[str] | None:
    """Returns the options that a command line gave, apart from those of that command alone."""
    try:
        words = yaml.safe_load((folder / _OVERRIDES).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(words, list):
        return None
    left_out = named(KINDS[command], COMMAND)
    return [
        word
        for word in map(str, words)
        if (name := word.partition("=")[0].lstrip("+")) not in left_out
        and not name.startswith("hydra")
    ]


def as_given(value: Any) -> str:
    """Returns a value as a command line has it: text as it stands, and quoted in a list."""
    return value if isinstance(value, str) else _nested(value)


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_nested, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_nested(item)}' for name, item in value.items())}}}"
    if isinstance(value, str):
        text = value.replace("'", "\\'")
        return f"'{text}'"
    return json.dumps(value)


def shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def messages(log: Path, most: int = 400) -> tuple[list[str], list[str], int]:
    """Returns the warnings of a run's log, its newest lines, and how many lines were left out."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return [*dict.fromkeys(_warnings(lines))], lines[-most:], max(0, len(lines) - most)


def _warnings(lines: list[str]) -> Iterator[str]:
    for line in lines:
        head, level, rest = line.partition(" WARNING ")
        if level and len(head) < len("2026-01-01 00:00:00,000") + 1:
            yield rest.partition(": ")[2].removeprefix("WARNING: ")
