"""A command imports no package that it does not need, and none before it needs it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INFERENCE = {"numpy", "torch", "tokenizers", "safetensors"}
TRAINING = {"filelock", "fsspec", "jinja2", "lightning", "platformdirs", "psutil", "rich"}
COMMAND_LINE = {"hydra", "omegaconf"}
ANYWHERE = ("finetune", "train")
"""Commands whose own functions import what a run needs, and so count with all their imports."""

CODE = """
import gc, sys
from bert_lightning.cli.commands import train
assert "torch" not in sys.modules
with train.quick_imports():
    from bert_lightning.reports.run_report import report
    from bert_lightning.training.fit import fit
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() > 0
others = ("matplotlib", "scipy", "transformers", "sklearn", "optuna", "pandas", "pyarrow", "ray",
          "datasets", "gradio", "tensorboard", "sentence_transformers", "onnx", "lightning")
print([name for name in others if name in sys.modules])
from lightning_utilities.core.imports import RequirementCache
print(bool(RequirementCache("matplotlib>=3.6.0")))
"""


@pytest.mark.slow
def test_a_run_imports_no_package_that_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['lightning']", "True"]


def imports_of(node: ast.AST, everywhere: bool) -> Iterator[str]:
    """Names that a file imports when it is imported itself, or `everywhere`, also in functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif everywhere or not isinstance(child, ast.FunctionDef):
            yield from imports_of(child, everywhere)


def file_of(name: str) -> Path | None:
    """Returns the file of a module of the project, or of the one that has this name in it."""
    for module in (name, name.rpartition(".")[0]):
        path = ROOT.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def packages_imported(command: str) -> set[str]:
    """Returns other projects' packages that are imported as soon as a command is."""
    waiting, seen, found = [f"bert_lightning.cli.commands.{command}"], set[Path](), set[str]()
    waiting.append("bert_lightning.cli.main")
    while waiting:
        name = waiting.pop()
        first = name.partition(".")[0]
        if first != "bert_lightning":
            found |= {first} - sys.stdlib_module_names
            continue
        file = file_of(name)
        assert file is not None, name
        if file not in seen:
            seen.add(file)
            tree = ast.parse(file.read_text(encoding="utf-8"))
            everywhere = file.parent.name == "commands" and file.stem in ANYWHERE
            waiting += imports_of(tree, everywhere)
    return found


@pytest.mark.parametrize(
    ("command", "needed"),
    [("inference", INFERENCE), ("train", INFERENCE | TRAINING | COMMAND_LINE)],
)
def test_a_command_imports_at_once_only_what_every_use_of_it_needs(
    command: str, needed: set[str]
) -> None:
    assert packages_imported(command) - needed == set()
