"""Writes `docs/options.md` from the config dataclasses: `python -m docs.tools.options_page`.

A field's type, default, limits and mark are those of the program; what it does is its docstring.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from bert_lightning.config import PhaseConfig, TrainConfig
from bert_lightning.config.affects import Affects
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.limits import LIMITS, Limits, kinds

PAGE = Path(__file__).parents[1] / "options.md"
_INTRODUCTION = """
<!-- Made by `python -m docs.tools.options_page` of the classes in bert_lightning/config. -->

# Options

All of them, as their classes in
[`bert_lightning/config`](../bert_lightning/config/__init__.py) state them;
[how to set options](configuration.md) has the groups that set several at once. *Affects* says what
changes when an option does:
"""
_BOUNDS = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}


class Row(NamedTuple):
    """An option as the page shows it."""

    section: str
    """The options that it stands with: `batch.pairs`, or empty for those of a whole run."""
    about: str
    """What that section is."""
    name: str
    values: str
    default: str
    affects: str
    purpose: str


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Returns the text of the page."""
    train = list(_rows(TrainConfig, TrainConfig()))
    known = {(row.name, row[3:]) for row in train}
    other = [
        row for row in _rows(FinetuneConfig, FinetuneConfig()) if (row.name, row[3:]) not in known
    ]
    phase = list(_rows(PhaseConfig, None, "batch.phases[]."))
    marks = [f"- `{str(mark.name).lower()}`: {doc}" for mark, doc in _marks()]
    return (
        "\n".join(
            [
                *(_INTRODUCTION.strip(), "", *marks, ""),
                *("## Pretraining", "", "`python train.py`, `bert-lightning train`", ""),
                *(line for row in _sections([*train, *phase], "") for line in row),
                *("## Fine-tuning", ""),
                "`python finetune.py`, `bert-lightning finetune`: these, and of the options above",
                "those of the whole run, `optim`, `trainer`, `launcher`, `strategy`, `logger` and",
                "`callbacks` that are not listed again.",
                "",
                *(line for row in _sections(other, "Fine-tuning: ") for line in row),
            ]
        ).rstrip()
        + "\n"
    )


def docstrings(section: type[Any]) -> dict[str, str]:
    """Returns the text below each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if is_dataclass(cls) and cls.__module__.startswith("bert_lightning."):
            found.update(_docstrings_of(cls))
    return found


@cache
def _docstrings_of(cls: type[Any]) -> dict[str, str]:
    (tree,) = ast.parse(dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[field.target.id] = " ".join(text.split())
    return found


def _rows(section: type[Any], defaults: Any, prefix: str = "") -> Iterator[Row]:
    """Yields the options below a dataclass, its own first; `defaults` is one with all defaults."""
    hints, texts = get_type_hints(section), docstrings(section)
    about = inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    inner = []
    for entry in fields(section):
        hint, name = hints[entry.name], f"{prefix}{entry.name}"
        if isinstance(hint, type) and is_dataclass(hint):
            inner.append((hint, getattr(defaults, entry.name), f"{name}."))
            continue
        mark = entry.metadata["affects"]
        yield Row(
            prefix.removesuffix("."),
            about,
            name,
            _values(hint, entry.metadata[LIMITS]),
            _default(entry, getattr(defaults, entry.name, None)),
            ", ".join(f"`{str(one.name).lower()}`" for one in Affects if one & mark),
            texts.get(entry.name, ""),
        )
    for found in inner:
        yield from _rows(*found)


def _sections(rows: list[Row], prefix: str) -> Iterator[list[str]]:
    """Yields the lines of a heading and a table for each section."""
    for (section, about), found in groupby(rows, key=lambda row: (row.section, row.about)):
        lines = [f"### {prefix}{f'`{section}`' if section else 'The whole run'}", "", about, ""]
        lines += ["| option | values | default | affects | |", "| --- | --- | --- | --- | --- |"]
        for row in found:
            cells = (f"`{row.name}`", row.values, row.default, row.affects, row.purpose)
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        yield [*lines, ""]


def _values(hint: Any, limits: Limits) -> str:
    """Returns what an option may be, in words."""
    if limits.words:
        return ", ".join(f"`{word}`" for word in limits.words)
    bounds = " and ".join(
        f"{_BOUNDS[name]} {_number(value)}" for name, value in limits.bounds.items()
    )
    names = [_name(kind) for kind in kinds(hint) if kind is not type(None)]
    if {"integer", "number"} <= {*names}:
        names = ["integer", "fraction"]
    also = f", or {limits.also:g}" if limits.also is not None else ""
    null = " or `null`" if type(None) in kinds(hint) else ""
    return f"{' or '.join(dict.fromkeys(names))}{f' {bounds}' if bounds else ''}{also}{null}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _name(kind: Any) -> str:
    if kind is Any:
        return "text, integer or list"
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return "list of phases" if is_dataclass(item) else "list"
    if issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    return {int: "integer", float: "number", bool: "`true`, `false`", str: "text"}[kind]


def _default(entry: "Field[Any]", value: Any) -> str:
    if entry.default is MISSING and entry.default_factory is MISSING:
        return "required"
    match value:
        case None:
            shown = "null"
        case bool():
            shown = str(value).lower()
        case Enum():
            shown = str(value.value)
        case float():
            shown = f"{value:g}"
        case _:
            shown = str(value)
    return f"`{shown}`"


def _marks() -> Iterator[tuple[Affects, str]]:
    """Yields each mark with the text below it in `affects.py`."""
    tree = ast.parse(dedent(inspect.getsource(Affects)))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    for node, below in pairwise(body):
        match node, below:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=text)):
                yield Affects[name], " ".join(str(text).split())


if __name__ == "__main__":
    main()
