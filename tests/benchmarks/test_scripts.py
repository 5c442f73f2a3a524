"""The benchmarks start as modules, refuse in words, and compare two checkouts."""

import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import Pipe
from pathlib import Path

import pytest

from benchmarks import first_path, measure, referee, run_recipe, steps
from benchmarks.preparation import scheduled, simulated
from benchmarks.preparation_table import preparation_table
from benchmarks.startup import summary
from benchmarks.varied_text import documents, in_fixed_order
from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.errors import UserError

ROOT = Path(__file__).parents[2]
MODULES = [
    "steps",
    "batches",
    "balance",
    "contention",
    "forecast",
    "preparation",
    "varied_text",
    "overhead",
    "data_wait",
    "startup",
    "step_ratio",
    "referee",
    "scaling",
    "downstream",
    "first_path",
    "ensemble",
    "gpu",
    "update_readme",
    "mutation",
]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("name", MODULES)
def test_each_module_describes_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_the_readme_lists_each_module_and_its_result(name: str) -> None:
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert f"`benchmarks.{name}`" in readme
    for path in (ROOT / "benchmarks").glob("*.json"):
        assert f"`{path.name}`" in readme


def test_steps_without_transformers_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(name: str) -> object:
        return None if name == "transformers" else find_spec(name)

    monkeypatch.setattr(steps, "find_spec", without)
    with pytest.raises(SystemExit) as ended:
        steps.main(["data=builtin"])
    assert ended.value.code == 2
    assert "pip install 'bert-lightning[hf]'" in capsys.readouterr().err


def test_a_contestant_whose_process_ended_is_named() -> None:
    """As a killed one does, or one that lacks a package; its end of the pipe closes then."""
    ours, theirs = Pipe()
    theirs.send("ready")
    theirs.close()
    assert measure.answer(ours, "hf-best") == "ready"
    with pytest.raises(UserError, match=r"the process of hf-best ended .* --only"):
        measure.answer(ours, "hf-best")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny_8min", "data.path=absent"], r"seed=0 exists, and results are never overwritten"),
        (["tiny_9min"], "no recipe tiny_9min: choose from base_gpu, "),
        (["tiny_8min", "optim.lr=1"], "optim.lr=1 differs from .* tiny_8min: --variant NAME"),
        (["tiny_8min", "--variant", "a"], "--variant a needs an option that differs"),
        (["tiny_8min", "--variant", "seed=1", "optim.lr=1"], "--variant seed=1 must be of"),
        (["tiny_8min", "data.path=absent", "--seed", "9"], "data.path=absent: there is no "),
    ],
)
def test_what_a_recipe_cannot_be_run_with(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        referee.main(arguments)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_recording_waits_until_the_machine_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads, slept = iter([1.8, 0.76, 0.74]), list[float]()
    monkeypatch.setattr(run_recipe.psutil, "getloadavg", lambda: (next(loads), 9.0, 9.0))
    monkeypatch.setattr(run_recipe.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(run_recipe.time, "sleep", slept.append)
    run_recipe.wait_until_quiet()
    assert slept == [1, 1]
    assert capsys.readouterr().out == "waiting     load 1.80: recordings begin below 0.75\n"


def test_how_the_threads_of_the_referee_wait_is_not_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "300")
    script = tmp_path / "script.py"
    script.write_text("import os\nprint(os.environ.get('GOMP_SPINCOUNT'))", encoding="utf-8")
    assert run_recipe.python(tmp_path, script).strip() == "None"


def test_the_startup_summary_compares_medians_and_least_values() -> None:
    measured = {"old": [{"step": 4.0}, {"step": 6.0}], "new": [{"step": 3.0}, {"step": 3.0}]}
    found = summary(measured)
    assert found["median"] == {"old": {"step": 5.0}, "new": {"step": 3.0}}
    assert found["saved_fraction"] == {"median": {"step": 0.4}, "least": {"step": 0.25}}


@pytest.fixture
def wikitext(tmp_path: Path) -> Path:
    folder = tmp_path / "wikitext-2"
    folder.mkdir()
    article = " = Crane = \n \n The crane is here . It was there . Nobody saw it . \n"
    for split in ("train", "valid", "test"):
        (folder / f"wiki.{split}.tokens").write_text(article * 40)
    return folder


@pytest.mark.slow
def test_preparing_is_measured(wikitext: Path, tmp_path: Path) -> None:
    text, results = tmp_path / "text", tmp_path / "results.json"
    text.mkdir()
    blocks = [f"The crane {number} is here. It was there.\n\n" for number in range(4000)]
    (text / "a.txt").write_text("".join(blocks), encoding="utf-8")
    tokenizer = build_tokenizer(["the crane is here . it was"], TokenizerConfig(), Format.prose)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    options = ["--tokenizer", str(tmp_path / "tokenizer.json"), "--repeat", "1"]
    options += ["--results", str(results)]
    done = run("benchmarks.preparation", str(wikitext), str(text), *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text(encoding="utf-8"))
    assert found["text"]["words"] == 4000 * 8
    assert [*map(len, found["given"]["one_worker"]["tasks"].values())] == [0, 0, 1]
    assert [*map(len, found["word"]["one_worker"]["tasks"].values())] == [1, 1, 1]
    assert "| words of the text itself |" in preparation_table(found)


def test_a_schedule_gives_the_longest_task_to_the_worker_that_is_free_first() -> None:
    assert scheduled([1, 2, 3, 4, 5], 2) == 8
    assert scheduled([1.0] * 8, 4) == 2
    measured = {"cpu_seconds": 10.0, "tasks": {"encode": [2.0] * 4}}
    speedup = simulated(measured)["speedup"]
    assert speedup["1 times the text"] == 10 / (2 + 2)
    assert speedup["16 times the text"] == 160 / (32 + 32)


def test_varied_prose_is_the_prose_of_files_once_and_in_a_fixed_order(tmp_path: Path) -> None:
    prose = "This is a paragraph of prose about cranes, and about lamps. " * 3
    (tmp_path / "a.txt").write_text(f"{prose}\nwrapped\n\n- 1, 2, 3\n\nOther {prose}")
    (tmp_path / "b.html").write_text(
        f"<p>New {prose}</p><script>{prose}</script><p>{prose}\nwrapped"
    )
    (tmp_path / "c.py").write_text(f'"""Documented. {prose}"""\n')
    (tmp_path / "d.bin").write_text(prose)
    files = in_fixed_order([tmp_path])
    assert files == in_fixed_order([tmp_path]) != []
    found = [[" ".join(block.split()) for block in blocks] for blocks in documents(files)]
    once = [block for blocks in found for block in blocks]
    wanted = [f"{prose}wrapped", f"Other {prose}", f"New {prose}", f"Documented. {prose}"]
    assert sorted(once) == sorted(" ".join(block.split()) for block in wanted)


@pytest.mark.slow
def test_a_checkout_takes_the_same_steps_as_itself(wikitext: Path, tmp_path: Path) -> None:
    result = tmp_path / "ratio.json"
    options = ["--rounds", "2", "--steps", "1", "--json", str(result)]
    done = run("benchmarks.step_ratio", str(ROOT), str(wikitext), *options)
    assert done.returncode == 0, done.stderr
    record = json.loads(result.read_text())
    assert record["equal_losses"]
    assert record["ratio"] > 0


def test_the_path_that_is_timed_is_that_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.sub(r"\s*\\\n\s*", " ", readme).splitlines()
    commands = list(first_path.STEPS.values())
    for command in commands[2:]:
        assert command in shown
    assert "make train ARGS=run_dir=runs/first" in shown
    assert commands[1] == "make train ARGS='run_dir=runs/first data.path=wikitext-2'"


def test_the_table_of_the_first_path_adds_up() -> None:
    about = {"cores": 2, "processor": "Processor"}
    timed = [
        {"gives": "clone", "command": "git clone URL .", "seconds": 1.4},
        {"gives": "model", "command": "make train", "seconds": 300.3},
    ]
    lines = first_path.table({"machine": about, "steps": timed}).splitlines()
    assert lines[2:5] == [
        "| clone | `git clone URL .` | 1 |",
        "| model | `make train` | 300 |",
        "| *all* |  | 302 |",
    ]
    assert lines[-1].startswith("(2 cores, Processor, ")
