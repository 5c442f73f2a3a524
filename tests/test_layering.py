"""Packages lie in an order, and a module reaches only those above its own, by whatever way."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bert_lightning"
SCRIPTS = [ROOT / "train.py", *sorted((ROOT / "scripts").glob("*.py"))]
COMMANDS = PACKAGE / "cli" / "commands"
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    *("errors", "files", "special_tokens", "batch", "terminal", "work", "log_file", "version"),
    *("hub", "extensions"),
    *("config", "corpus", "data", "model", "optim"),
    *(
        "pretrained",
        "inference",
        "evaluation",
        "sizing",
        "runs",
        "launching",
        "training",
        "finetuning",
        "pictures",
        "reports",
        "demo",
        "cli",
        "api",
    ),
)
"""Top to bottom; `__main__` is part of the last."""

ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "lightning": ("training.", "runs.", "finetuning."),
    "hydra": "cli.",
    "omegaconf": "cli.",
    "datasets": "corpus.readers.tables",
    "rjieba": "corpus.words",
    "tokenizers": ("corpus.tokenizer", "corpus.vocabulary.", "pretrained.hf_tokenizer"),
    "fsspec": ("corpus.readers.find_remote", "corpus.shards.remote"),
    "zstandard": "corpus.readers.storage.compression",
    "selectolax": "corpus.readers.pages.html",
    "mwxml": "corpus.readers.pages.wikipedia",
    "mwparserfromhell": "corpus.readers.pages.wikipedia",
    "matplotlib": "pictures.",
    "transformers": ("inference.export_folder", "inference.modeling_bert_lightning"),
    "onnxruntime": "inference.onnx_export",
    "optuna": "cli.search.",
    "sentence_transformers": "inference.sentence_export",
    "gradio": "demo.page",
    "dask": "corpus.preparation.executors",
    "distributed": "corpus.preparation.executors",
    "submitit": "corpus.preparation.executors",
    "datasketch": "corpus.duplicates",
    "triton": "model.kernels.",
    "ray": ("launching.", "training.strategies", "corpus.preparation.executors"),
}
MOST_LINES = 270
LONGER = {"modeling_bert_lightning.py": 460}
"""It is copied to exports, and a model of transformers is best read as one file."""
MOST_MODULES = 12
"""Of a package, its `__init__.py` not counted."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> frozenset[str]:
    """Full names that a file imports when it runs, at its top or within a function."""
    return frozenset(each_import(path))


def each_import(path: Path) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


@cache
def known_modules() -> set[str]:
    return {name_of(path) for path in MODULES}


def own_imports(path: Path) -> set[str]:
    """Modules of the package that a file imports: `data.store`, `errors`."""
    found = set()
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == PACKAGE.name:
            while rest not in known_modules():  # the last part is a name within the module
                rest = rest.rpartition(".")[0]
            found.add(rest)
    return found


def room(module: str) -> int:
    module = module.replace("__main__", ORDER[-1])
    places = [place for place, name in enumerate(ORDER) if f"{module}.".startswith(f"{name}.")]
    assert places, f"{module} has no place in ORDER: give it one"
    return places[0]


INNER = [path for path in MODULES if path.name != "__init__.py"]


@cache
def graph_of_imports() -> dict[str, set[str]]:
    return {name_of(path): own_imports(path) for path in MODULES}


def reached(start: str) -> set[str]:
    """All modules that importing a module runs, those that its own imports import included."""
    graph = graph_of_imports()
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in graph[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


@pytest.mark.parametrize("path", INNER, ids=name_of)
def test_a_module_reaches_only_packages_above_its_own(path: Path) -> None:
    here = name_of(path)
    for other in own_imports(path):
        folder = (PACKAGE / other.replace(".", "/")).is_dir()
        assert not folder or other == "config", f"{here} imports the folder {other}"
    below = {other for other in reached(here) if room(other) > room(here)}
    assert not below, f"{here} reaches {sorted(below)}"


def test_no_circle_of_imports() -> None:
    graph = {name_of(path): own_imports(path) - {name_of(path)} for path in INNER}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data", "model"),
        ("training", "inference"),
        ("runs", "inference"),
        ("sizing", "inference"),
        ("inference", "optim"),
        ("evaluation", "optim"),
    ],
)
def test_packages_that_do_not_know_each_other(one: str, other: str) -> None:
    """Not even through a third one."""
    for path in (PACKAGE / one).rglob("*.py"):
        known = {name for name in reached(name_of(path)) if f"{name}.".startswith(f"{other}.")}
        assert not known, f"{path} reaches {sorted(known)}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_in_one_room(library: str) -> None:
    users = [
        name_of(path)
        for path in MODULES
        if any(name.partition(".")[0] == library for name in imports(path))
    ]
    assert users
    assert all(user.startswith(ONLY_IN[library]) for user in users), users


def test_there_is_no_room_for_odds_and_ends() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path) or "package")
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(path.name, MOST_LINES)


FOLDERS = sorted({path.parent for path in MODULES})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_package_can_be_kept_in_mind(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, modules


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_names_a_command(path: Path) -> None:
    if path.name == "run_recipe.py":  # which is of benchmarks/, and not in the wheel
        assert set(imports(path)) == {"sys", "pathlib.Path", "benchmarks.referee.main"}
        return
    assert set(imports(path)) == {f"{PACKAGE.name}.cli.main.command"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 12


@pytest.mark.parametrize("path", sorted(COMMANDS.glob("*.py")), ids=lambda path: path.name)
def test_a_command_is_argparse_and_the_package(path: Path) -> None:
    used = {name.partition(".")[0] for name in imports(path)}
    assert used <= {*sys.stdlib_module_names, PACKAGE.name, "numpy", "torch", "rich"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
