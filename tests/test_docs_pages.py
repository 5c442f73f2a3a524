"""No page is out of date: tables, generated pages, links, and the length of the README."""

import json
import re
import shlex
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from pages import PAGES, README, ROOT, commands, prose

from benchmarks import readme_tables, update_readme
from bert_lightning.cli.app import compose
from bert_lightning.config import TrainConfig
from bert_lightning.config.affects import options
from docs.tools import api_page, options_page

LINKED = [
    *PAGES,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")),
]
"""The pages whose links must lead somewhere."""


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", update_readme.PAGES, ids=lambda page: page.name)
def test_recorded_output_and_tables_are_the_committed_ones(page: Path) -> None:
    again = "python -m benchmarks.update_readme x --only-copy"
    assert update_readme.filled(page) == page.read_text(encoding="utf-8"), again


def test_every_table_is_on_a_page() -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in update_readme.PAGES)
    shown = set(re.findall(r"<!-- ([\w-]+):begin -->", everything))
    assert set(update_readme.BLOCKS) <= shown
    for marker in shown:
        assert everything.count(f"<!-- {marker}:end -->") == 1


def test_the_path_from_text_to_loss_is_short() -> None:
    files = [name for files in readme_tables.READING_PATH.values() for name in files]
    assert len(files) == len(set(files)) <= 17
    lines = (ROOT / "bert_lightning" / name for name in files)
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in lines) < 2900


@pytest.mark.parametrize("made", [options_page, api_page])
def test_a_generated_page_is_current(made: ModuleType) -> None:
    again = f"python -m {made.__name__}"
    assert made.page() == made.PAGE.read_text(encoding="utf-8"), again


def test_the_page_of_options_has_all_of_them_with_a_text() -> None:
    text = options_page.PAGE.read_text(encoding="utf-8")
    for option in options(TrainConfig):
        (row,) = re.findall(
            rf"^\| `{re.escape(option.name)}` .*$", text.partition("## Fine-")[0], re.M
        )
        assert row.rsplit(" | ", 1)[1].strip(" |"), f"{option.name} has no docstring"


def test_the_measured_batch_is_that_of_the_command() -> None:
    page = ROOT / "docs" / "performance.md"
    (command,) = [c for c in commands(page) if c.startswith("python -m benchmarks.steps")]
    config = compose(ROOT / "conf", ["run_dir=.", *shlex.split(command)[3:]])
    record = json.loads((ROOT / "benchmarks" / "steps.json").read_text(encoding="utf-8"))
    assert config.batch.global_batch_size == record["pairs"]
    about = page.read_text(encoding="utf-8").partition("<!-- steps:begin -->")[0]
    assert f"batch {record['pairs']}, length {config.batch.max_length}" in " ".join(about.split())
    asked = {option.split("=")[0] for option in shlex.split(command)[3:]}
    assert "batch.global_batch_size" in asked


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*\]\([^`\n]*`", "", prose(page))  # what looks like a link in code
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue  # of another site
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Returns the names of a page's headings, as GitHub makes them."""
    found, seen = set(), Counter[str]()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = (c for c in plain if c in "-_ " or unicodedata.category(c)[0] in "LMN")
        name = "".join(kept).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="no mkdocs-material, the extra docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "source" / "bert_lightning" / "batch.py.html").is_file()
