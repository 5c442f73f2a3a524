"""Every example of docs/extending.md trains for a few steps, and does what the page says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_new_kinds import POSITION_EMBEDDING, THIRD_OBJECTIVE

import bert_lightning
from bert_lightning.errors import UserError
from bert_lightning.extensions import KINDS
from bert_lightning.pretrained.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^```python\n# (\w+\.py)\n(.*?)^```\n\n```bash\n(.*?)^```", PAGE, re.M | re.S
)
"""Of each: the name of its file, its code and its command."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the modules of the page and some notes."""
    for name, code, _ in EXAMPLES:
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    for topic in ("crane", "river", "lamp", "garden"):
        paragraph = f"the {topic} is here ; it was there ; nobody saw the {topic} move"
        (tmp_path / "notes" / f"{topic}.txt").write_text("\n\n".join([paragraph] * 4))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, _, _ in EXAMPLES:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    return tmp_path


def options(example: int, small_run: Callable[..., list[str]]) -> list[str]:
    """Those of an example's command, after those of a small run."""
    program, script, *given = EXAMPLES[example][2].split()
    assert (program, script) == ("python", "train.py")
    return small_run("run_dir=run", "optim.warmup_steps=0", *given)


def test_there_is_one_of_each_kind() -> None:
    marks = re.findall(r"@extension\(\"(\w+)\"\)\n(?:class|def) ", PAGE)
    assert sorted(marks) == sorted(KINDS)
    assert len(EXAMPLES) == len(KINDS) == PAGE.count("```python")


@pytest.mark.slow
@pytest.mark.parametrize("example", range(len(EXAMPLES)), ids=[name for name, _, _ in EXAMPLES])
def test_an_example_trains(
    example: int,
    folder: Path,
    small_run: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = bert_lightning.fit(options(example, small_run))
    assert result.summary["steps"] == 6
    printed, about = capsys.readouterr().out, json.loads((folder / "run" / "run.json").read_text())
    match EXAMPLES[example][0]:
        case "my_callbacks.py":
            assert printed.count("the largest weight is") == 2  # validations
        case "my_loggers.py":
            logged = (folder / "run" / "curves.jsonl").read_text().splitlines()
            losses = [json.loads(line).get("train/mlm_loss") for line in logged]
            curve = [value for _, value in result.curves["train/mlm_loss"]]
            assert [loss for loss in losses if loss is not None] == curve
        case "my_splitters.py":
            found = result.summary["data"]["splits"]["train"]
            assert found["sentences"] == 3 * found["paragraphs"]
        case "my_segmenters.py":
            assert about["data"]["words"] == "my_segmenters:two_characters"
        case "my_optimizers.py":
            assert about["optim"]["own"] == "my_optimizers:nadam"
            newest = folder / "run" / "checkpoints" / "step=000006.ckpt"
            state = read_checkpoint(newest)["optimizer_states"][0]["state"][0]
            assert "mu_product" in state  # NAdam's
        case "my_objectives.py":
            assert "LONGSEGMENT loss" in printed
            assert result.curves["train/LongSegment_loss"]


@pytest.mark.usefixtures("folder")
def test_what_is_not_there_is_said_before_the_corpus_is_prepared(
    small_run: Callable[..., list[str]],
) -> None:
    wrong = small_run("run_dir=run", "callbacks.own=[my_callbacks:Smallest]", "data.path=absent")
    with pytest.raises(UserError, match=r"^callbacks.own=my_callbacks:Smallest: Smallest does not"):
        bert_lightning.fit(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("program", [[str(ROOT / "train.py")], ["-m", "bert_lightning", "train"]])
def test_modules_of_the_working_directory_are_found(
    program: list[str], folder: Path, small_run: Callable[..., list[str]]
) -> None:
    done = subprocess.run(
        [sys.executable, *program, *options(0, small_run), "trainer.devices=2"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "step 6: the largest weight is" in done.stdout


def test_the_files_of_a_new_kind_are_those_of_the_test_that_adds_one() -> None:
    inside = PAGE.partition("## Inside the package")[2]
    named = [path.replace("NAME", "*") for path in re.findall(r"^- `([^`]*)`", inside, re.M)]
    added = [*POSITION_EMBEDDING, *THIRD_OBJECTIVE]
    assert named == [re.sub(r"(conf/\w+)/\w+\.yaml", r"\1/*.yaml", path) for path in added]
