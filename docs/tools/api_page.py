"""Writes `docs/api.md` from the docstrings of what users call: `python -m docs.tools.api_page`.

The source is read and not imported, so signatures stand as they are written there.
"""

import ast
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
_INTRODUCTION = """
<!-- Made by `python -m docs.tools.api_page` of the docstrings in bert_lightning. -->

# Python API

What `import bert_lightning` gives, and what its functions return. [Using a trained
model](using.md) shows it at work. Texts are strings; a pair is two of them.
"""


class Shown(NamedTuple):
    """Something that the page shows."""

    file: str
    """Its module, as a path below the package."""
    name: str
    called: str = ""
    """How users write it, where not by its name alone."""


CONTENTS = {
    "Train": [
        Shown("api/fit.py", "fit", "bert_lightning.fit"),
        Shown("api/result.py", "RunResult"),
        Shown("api/finetune.py", "finetune", "bert_lightning.finetune"),
        Shown("api/finetune.py", "FinetuneRun"),
    ],
    "Load": [Shown("api/load.py", "load", "bert_lightning.load")],
    "A pretrained model": [
        Shown("inference/loaded.py", "PretrainedBert"),
        Shown("inference/represent.py", "Representation"),
        Shown("inference/loaded.py", "Fill"),
        Shown("inference/attention_weights.py", "Attention"),
        Shown("inference/pseudo_likelihood.py", "PseudoLikelihood"),
    ],
    "A fine-tuned model": [
        Shown("finetuning/predict.py", "FineTunedBert"),
        Shown("finetuning/predict.py", "Prediction"),
        Shown("finetuning/answering/spans.py", "FoundAnswer"),
    ],
    "Pictures": [
        *(
            Shown("pictures/draw.py", name, f"bert_lightning.pictures.draw.{name}")
            for name in ("loss", "word", "learning", "attention", "labels")
        ),
        Shown("pictures/style.py", "Picture"),
    ],
    "Code of your own": [
        Shown("extensions.py", "extension", "bert_lightning.extensions.extension"),
    ],
    "Errors": [Shown("errors.py", "UserError"), Shown("errors.py", "RunEnded")],
}


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Returns the text of the page."""
    lines = _INTRODUCTION.strip().splitlines()
    lines += ["", "`bert_lightning.TrainConfig` holds all [options](options.md) of a run.", ""]
    for heading, contents in CONTENTS.items():
        lines += [f"## {heading}", ""]
        for shown in contents:
            lines += _described(shown)
    return "\n".join(lines).rstrip() + "\n"


def _described(shown: Shown) -> Iterator[str]:
    tree = ast.parse((ROOT / "bert_lightning" / shown.file).read_text(encoding="utf-8"))
    (node,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == shown.name
    )
    where = f"[`{shown.file}`](../bert_lightning/{shown.file})"
    yield from (f"### `{shown.called or shown.name}`", "")
    if isinstance(node, ast.FunctionDef):
        yield from _function(node, shown.called or shown.name)
    else:
        yield from (*_prose(node), *_attributes(node))
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                yield from (f"#### `{shown.name}.{method.name}`", "")
                yield from _function(method, method.name)
    yield from (f"In {where}.", "")


def _function(node: ast.FunctionDef, called: str) -> Iterator[str]:
    if not any(
        isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list
    ):
        yield from ("```python", _signature(node, called), "```", "")
    yield from _prose(node)


def _signature(node: ast.FunctionDef, called: str) -> str:
    """Returns the call with its types, an argument a line where it is long."""
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    arguments = re.sub(r"(?<=[\w\]'])=", " = ", arguments)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments, returns = (text.replace("'", "") for text in (arguments, returns))  # forward names
    one_line = f"{called}({arguments}){returns}"
    if len(one_line) <= 88:
        return one_line
    inner = re.sub(r", (?=\*?\w+(?::|,|$)|\*,)", ",\n    ", arguments)
    return f"{called}(\n    {inner},\n){returns}"


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    """Yields a list of the fields of a class."""
    listed = False
    for field, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    about = f": {_inline(text)}"
                case _:
                    about = ""
            listed = True
            yield f"- `{field.target.id}: {ast.unparse(field.annotation)}`{about}"
    if listed:
        yield ""


def _prose(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """Yields the docstring, whose Google sections become lists."""
    for paragraph in re.split(r"\n\n(?=\S)", cleandoc(ast.get_docstring(node) or "")):
        section, _, content = paragraph.partition("\n")
        if section in ("Args:", "Raises:", "Returns:"):
            yield from (f"**{section}**", "")
            items = re.split(r"\n(?=\S)", dedent(content))
            yield from (_item(item, named=section != "Returns:") for item in items)
        else:
            yield from _inline(paragraph, lines=True).splitlines()
        yield ""


def _item(text: str, named: bool) -> str:
    if not named:
        return _inline(text)
    name, _, about = text.partition(": ")
    return f"- `{name}`: {_inline(about)}"


def _inline(text: str, lines: bool = False) -> str:
    """Returns text without the roles of Sphinx, and without line breaks unless they are kept."""
    text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text)
    return text if lines else " ".join(text.split())


if __name__ == "__main__":
    main()
