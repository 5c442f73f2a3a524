"""A study through the command line: it fails, stops and resumes, and its runs are plain runs."""

import csv
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from real_runs import Run

import bert_lightning
from bert_lightning.finetuning.predict import FineTunedBert
from bert_lightning.finetuning.scoring.records import read_record

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
Command = Callable[..., Run]


@pytest.fixture
def command(start: Command, save_hf: Callable[..., Path], tmp_path: Path) -> Command:
    """Starts `finetune.py`: `command("study", "seeds=2")` in the folder `study`."""
    source, generator = save_hf(tmp_path / "bert"), random.Random(0)
    with (tmp_path / "moves.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for _ in range(120):
            label = generator.choice(["flies", "drives"])
            words = ["the", "crane" if label == "flies" else "driver", generator.choice("abcdef")]
            rows.writerow([" ".join(words), label])

    def begin(folder: str, *options: str, resumes: bool = False) -> Run:
        place = tmp_path / folder
        own = [
            "task=text",
            f"data.path={tmp_path / 'moves.csv'}",
            f"init_from={source}",
            "trainer.max_epochs=null",
            "trainer.max_steps=6",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "batch.global_batch_size=16",
            "batch.micro_batch_size=8",
            "batch.max_length=16",
            "optim.lr=0.001",
            "logger=none",
            f"hydra.run.dir={place}",
        ]
        given = [f"resume={place}"] if resumes else own
        return start(place, *given, *options, script=ROOT / "finetune.py")

    return begin


def test_a_study_that_fails_and_stops_resumes_where_it_was(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    in_the_way = folder / "study" / "random_weights"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    failed = command("study", "seeds=2")
    assert failed.end() == 2
    assert "error: the study's run of seed 0, random weights: " in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert "this model" in failed.stdout  # what the first run found

    in_the_way.unlink()
    stopped = command("study", resumes=True)
    stopped.until(lambda: "study: run 1 of 3, seed 0, random weights" in stopped.stdout)
    stopped.until(lambda: (folder / "study" / "seed=1" / "run.json").is_file())
    stopped.send(signal.SIGTERM)
    assert stopped.end() == 128 + signal.SIGTERM
    assert "stopped during the study's run of seed 1; resume=study continues" in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    assert not (folder / "results.json").exists()

    before = (in_the_way / "seed=0" / "summary.json").stat().st_mtime_ns
    resumed = command("study", resumes=True)
    assert resumed.end() == 0, resumed.stderr
    assert "study: 2 more runs" in resumed.stdout
    assert (in_the_way / "seed=0" / "summary.json").stat().st_mtime_ns == before
    found = json.loads((folder / "results.json").read_text())
    assert found["seeds"] == [0, 1]
    assert [row["model"] for row in found["rows"][:3]] == [
        "this model",
        "random weights",
        "majority",
    ]
    assert all(len(row["scores"]["accuracy"]["scores"]) == 2 for row in found["rows"])
    assert (folder / "confusion.csv").read_text().startswith("label,drives,flies\n")

    assert not list(in_the_way.glob("*/checkpoints"))  # nobody uses these models
    for place in (folder, folder / "study" / "seed=1"):
        assert isinstance(loaded := bert_lightning.load(place), FineTunedBert)
        assert Path(loaded.origin).is_relative_to(place / "checkpoints")
    assert Path(bert_lightning.load(tmp_path).origin).parent == folder / "checkpoints"

    alone = command("alone", "seed=1", "random_weights=true", "baselines=false")
    assert alone.end() == 0, alone.stderr
    twin, run = read_record(in_the_way / "seed=1"), read_record(tmp_path / "alone")
    assert np.array_equal(twin.predicted, run.predicted)
    assert twin.scores == run.scores
    assert not (tmp_path / "alone" / "results.json").exists()
    assert not run.baselines


def test_several_devices_and_a_learning_curve(command: Command, tmp_path: Path) -> None:
    run = command("two", "trainer.devices=2", "learning_curve=true")
    assert run.end() == 0, run.stderr
    found = json.loads((tmp_path / "two" / "results.json").read_text())
    assert found["machine"]["devices"] == 2
    assert [point["examples"] for point in found["learning_curve"]] == [32, 96]
    for point in found["learning_curve"]:
        assert [row["model"] for row in point["rows"][:2]] == ["this model", "random weights"]
    assert (tmp_path / "two" / "results.png").is_file()
    summaries = (tmp_path / "two" / "study").rglob("summary.json")
    assert all(json.loads(one.read_text())["machine"]["devices"] == 2 for one in summaries)
