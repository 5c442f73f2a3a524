"""The rooms of the package lie in an order, and a module imports only from those before its own."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bert_lightning"
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    *("errors", "config", "batch", "terminal"),
    *("data.randomness", "data.sentences", "data.builtin", "data.tables", "data.text_files"),
    *("data.cache", "data.hub"),
    *(
        "data.hold_out",
        "data.corpus",
        "data.tokenizer",
        "data.vocab",
        "data.extension",
        "data.encoding",
        "data.store",
        "data.prepare",
    ),
    *("data.phases", "data.pairs", "data.masking", "data.batches", "data.floors"),
    *("data.shallow", "data.statistics"),
    *("model", "pretrained", "inference", "evaluation", "training", "report"),
    *("inspection", "planning"),
    *("benchmark", "mistakes", "command", "targets", "cli"),
)
"""Top to bottom; the last ones, without a dot, are rooms of one or several modules."""

ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "lightning": ("training.", "benchmark."),
    "hydra": ("cli", "mistakes"),
    "omegaconf": ("cli", "mistakes", "targets"),
    "datasets": "data.",
    "tokenizers": ("data.tokenizer", "data.vocab"),
    "transformers": ("inference.export", "benchmark."),
}
MOST_LINES = 270
LONGER = {"model.bert": 400, "benchmark_batches": 150}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Full names that a file imports when it runs, at its top or within a function."""
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
    places = [place for place, name in enumerate(ORDER) if f"{module}.".startswith(f"{name}.")]
    assert places, f"{module} has no place in ORDER: give it one"
    return places[0]


INNER = [path for path in MODULES if path.name != "__init__.py"]


@pytest.mark.parametrize("path", INNER, ids=name_of)
def test_a_module_imports_only_from_rooms_before_its_own(path: Path) -> None:
    here = name_of(path)
    for other in own_imports(path):
        if other != "config" and "." not in other and (PACKAGE / other).is_dir():
            assert other == here.partition(".")[0], f"{here} imports the folder {other}"
            continue
        same_folder = room(other) == room(here) and "." in here
        assert room(other) < room(here) or same_folder, f"{here} imports {other}"


def test_no_circle_of_imports() -> None:
    graph = {name_of(path): own_imports(path) - {name_of(path)} for path in INNER}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data", "model"),
        ("data", "evaluation"),
        ("evaluation", "training"),
        ("training", "inference"),
        ("inference", "training"),
    ],
)
def test_rooms_that_do_not_know_each_other(one: str, other: str) -> None:
    for path in (PACKAGE / one).rglob("*.py"):
        assert not {name for name in own_imports(path) if f"{name}.".startswith(f"{other}.")}, path


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_in_one_room(library: str) -> None:
    users = [
        name_of(path)
        for path in MODULES
        if any(name.partition(".")[0] == library for name in imports(path))
    ]
    assert users
    assert all(user.startswith(ONLY_IN[library]) for user in users), users
    if library == "datasets":
        assert len(users) == 1, users


def test_there_is_no_room_for_odds_and_ends() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "helpers", "misc", "common"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path) or "package")
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(name_of(path), MOST_LINES)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_argparse_and_the_package(path: Path) -> None:
    used = {name.partition(".")[0] for name in imports(path)}
    assert "argparse" in used
    assert used <= {*sys.stdlib_module_names, PACKAGE.name, "numpy", "torch"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGER.get(path.stem, 100)


def test_the_entry_point_is_short() -> None:
    path = ROOT / "train.py"
    assert {name.partition(".")[0] for name in imports(path)} <= {"pathlib", PACKAGE.name}
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
