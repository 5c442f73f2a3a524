"""The workflow names the systems and versions that the project promises, and real commands."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bert_lightning.cli.app import compose

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTEST = "python -m pytest --numprocesses=2 --dist=worksteal"
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]


@pytest.fixture
def jobs() -> dict[str, Any]:
    return yaml.safe_load(TEXT)["jobs"]


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_three_systems_and_four_versions(jobs: dict[str, Any]) -> None:
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert [name.partition("-")[0] for name in matrix["system"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == VERSIONS
    assert jobs["tests"]["strategy"]["fail-fast"] is False


def test_the_project_promises_the_same() -> None:
    project = PROJECT["project"]
    assert project["requires-python"] == f">={VERSIONS[0]}"
    kept = [
        text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.", text)
    ]
    assert kept == VERSIONS
    listed = [text for text in project["classifiers"] if text.startswith("Operating System")]
    systems = {text.rpartition(":: ")[2] for text in listed}
    assert systems == {"Linux", "MacOS", "Windows"}
    assert "Python 3.11 or newer, on Linux, macOS or Windows" in README


def test_every_command_exists(jobs: dict[str, Any]) -> None:
    assert commands(jobs["lint"]) == ["make lint"]
    assert re.search(r"^lint:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    install, test, train = commands(jobs["tests"])
    assert install == 'python -m pip install --constraint constraints.txt --editable ".[dev]"'
    assert "dev" in PROJECT["project"]["optional-dependencies"]
    assert test == f'{PYTEST} -m "not slow"'
    assert any(
        name.startswith("slow:") for name in PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    )
    program, command, *options = shlex.split(train)
    assert (program, command) == ("bert-lightning", "train")
    assert f"\n{program} {command}\n" in (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    compose(ROOT / "conf", ["run_dir=.", *options])


def test_the_wheel_is_built_and_used(jobs: dict[str, Any]) -> None:
    build, install, use = commands(jobs["wheel"])
    assert build == "python -m pip wheel --no-deps --wheel-dir dist ."
    assert install.endswith("--constraint constraints.txt dist/*.whl\n")
    train, fill = (shlex.split(line) for line in use.splitlines())
    assert train[:2] == ["fresh/bin/bert-lightning", "train"]
    compose(ROOT / "conf", ["run_dir=.", *train[2:]])
    assert fill[:3] == ["fresh/bin/bert-lightning", "fill-mask", "runs"]


def test_the_oldest_and_the_newest_versions_are_tried_every_week(jobs: dict[str, Any]) -> None:
    triggers = yaml.safe_load(TEXT)[True]  # YAML 1.1 reads `on` as true
    (weekly,) = triggers["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["cron"])
    tried = jobs["dependencies"]["strategy"]["matrix"]["include"]
    assert {(each["resolution"], each["python"]) for each in tried} == {
        ("lowest-direct", VERSIONS[0]),
        ("highest", VERSIONS[-1]),
    }
    *_, tests = commands(jobs["dependencies"])
    assert tests == PYTEST


def test_it_has_no_rights_and_no_secrets() -> None:
    assert yaml.safe_load(TEXT)["permissions"] == {"contents": "read"}
    assert "secrets." not in TEXT
