"""What contributors are told: it is complete, it agrees with itself, and its commands exist."""

import re
import shlex
import shutil
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version
from real_data import data_folder
from test_words import AVOIDED, prose

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RELEASES = re.findall(r"^## \[(.+?)\] - (.+)$", CHANGELOG, re.MULTILINE)
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def commands() -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    cells = re.findall(r"^\| `(.+?)` \|", TEXT, re.MULTILINE)
    return [*(line for block in blocks for line in block.splitlines()), *cells]


def test_every_command_exists() -> None:
    known = set()
    for command in commands():
        program, *arguments = shlex.split(command, comments=True)
        known.add(program)
        if program == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
        if program == "python":
            is_module, name = arguments[0] == "-m", arguments[arguments[0] == "-m"]
            assert find_spec(name) if is_module else (ROOT / name).is_file()
            for path in (word for word in arguments if word.startswith("tests/")):
                assert (ROOT / path).exists()
    assert known == {"make", "source", "pre-commit", "export", "python", "git"}


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["test"], "-m pytest --numprocesses=2 --dist=worksteal"),
        (["test", "WORKERS=8"], "--numprocesses=8"),
        (["test", "ARGS=-n 0 tests/model"], "--dist=worksteal -n 0 tests/model"),
        (["test", "ARGS=-m 'not slow'"], "--dist=worksteal -m 'not slow'"),
        (["check"], '--dist=worksteal -m "not slow"'),
        (["check"], "bin/mypy"),
    ],
)
def test_make_starts_what_the_page_says(arguments: list[str], expected: str) -> None:
    command = ["make", "--dry-run", "--directory", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert expected in done.stdout


def test_a_single_test_starts_no_other_process() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "-n" not in project["tool"]["pytest"]["ini_options"]["addopts"].split()
    assert "numprocesses" not in project["tool"]["pytest"]["ini_options"]["addopts"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_page_has_the_words_of_the_field() -> None:
    text = " ".join(prose(PAGE).split())
    assert [word for word in AVOIDED if re.search(rf"\b{word}", text, re.IGNORECASE)] == []


def test_all_places_name_one_version() -> None:
    version = Version(PROJECT["version"])
    newest, date = RELEASES[0]
    assert version.base_version == newest
    assert version.is_devrelease == (date == "unreleased")
    assert CITATION["version"] == str(version)
    assert ("date-released" in CITATION) != version.is_devrelease
    image = (ROOT / "docs" / "launch" / "kubeflow.yaml").read_text(encoding="utf-8")
    assert f"/bert-lightning:{newest}\n" in image


def test_the_changelog_keeps_its_form() -> None:
    versions = [Version(version) for version, _ in RELEASES]
    assert versions == sorted(versions, reverse=True)
    assert all(re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", date) for _, date in RELEASES)
    sections = CHANGELOG.split("\n## ")[1:]
    assert len(sections) == len(RELEASES)
    for section in sections:
        kinds = re.findall(r"^### (.+)$", section, re.MULTILINE)
        allowed = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        assert kinds == [kind for kind in allowed if kind in kinds]
        assert kinds


def test_the_citation_has_what_its_format_requires() -> None:
    """The required keys of version 1.2.0, and no key that its schema lacks."""
    required = {"authors", "cff-version", "message", "title"}
    assert required <= set(CITATION)
    more = {"abstract", "date-released", "keywords", "license", "type", "version"}
    assert set(CITATION) - required <= more | {"repository-code"}
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["title"] == PROJECT["name"]
    assert [author["name"] for author in CITATION["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]


@pytest.mark.parametrize("form", [f for f in FORMS if f.name != "config.yml"], ids=lambda f: f.stem)
def test_a_form_has_what_its_readers_require(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    ids = [field["id"] for field in content["body"]]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]


def test_a_bug_comes_with_its_summary() -> None:
    (form,) = [form for form in FORMS if form.stem == "bug"]
    fields: dict[str, Any] = {
        field["id"]: field for field in yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
    }
    assert "summary.json" in fields["summary"]["attributes"]["label"]
    assert fields["summary"]["validations"]["required"]


def test_pre_commit_has_the_ruff_that_lint_has() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    revisions = {repo["repo"]: repo.get("rev") for repo in yaml.safe_load(text)["repos"]}
    ruff = revisions["https://github.com/astral-sh/ruff-pre-commit"]
    assert f"ruff=={ruff.removeprefix('v')}\n" in CONSTRAINTS


def test_the_image_has_what_the_wheel_is_built_from() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "Not built" in lines[0]
    assert len(lines) <= 16
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / path).exists() for path in copied)
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = setuptools["tool"]["setuptools"]["packages"]
    assert {"conf", *(package.split(".")[0] for package in packages)} <= set(copied)


def test_who_lacks_data_is_told_which_variable_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"set SOME_DATA to the folder that has a\.txt"):
        data_folder("SOME_DATA", tmp_path / "beside", "a.txt")
    (tmp_path / "a.txt").touch()
    assert data_folder("SOME_DATA", tmp_path, "a.txt") == tmp_path
    monkeypatch.setenv("SOME_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(pytest.fail.Exception, match=r"elsewhere has no a\.txt"):
        data_folder("SOME_DATA", tmp_path, "a.txt")


def test_the_page_names_the_variables_of_the_data() -> None:
    helper = (ROOT / "tests" / "real_data.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(BERT_LIGHTNING_\w+)"', helper))
    assert named == set(re.findall(r"^export (\w+)=", TEXT, re.MULTILINE))


def test_each_claim_about_another_project_names_a_file_at_its_commit() -> None:
    text = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    read = text.partition("## What was read")[2].partition("\n## ")[0]
    commits = dict(re.findall(r"^\| \[.+?\]\(https://github\.com/(\S+)\) \| `(\w{8})`", read, re.M))
    assert len(commits) == 10
    named = re.findall(r"https://github\.com/([^/]+/[^/]+)/(?:blob|tree)/(\w+)/", text)
    assert {project for project, _ in named} == set(commits)
    assert all(commits[project] == commit for project, commit in named)
