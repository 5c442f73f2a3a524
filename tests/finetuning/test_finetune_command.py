"""Fine-tuning as its users start it: real data, real processes, mistakes, and other commands."""

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from labelled_files import COLORS, write_csv
from left_behind import assert_same, checkpoint, read, state
from real_runs import ROOT, Run

import bert_lightning
from bert_lightning.cli.from_python import as_options
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.finetuning.predict import FineTunedBert

TaskConfigs = Callable[..., FinetuneConfig]
SCRIPT = ROOT / "finetune.py"
pytestmark = pytest.mark.slow


def call(*arguments: Any, cwd: Path, script: Path = SCRIPT) -> "subprocess.CompletedProcess[str]":
    return forked.run(script, *arguments, cwd=cwd)


def options_of(config: FinetuneConfig) -> list[str]:
    return [option for option in as_options(config) if not option.startswith("run_dir=")]


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


# Real data.


@pytest.mark.parametrize(
    ("task", "path", "score"),
    [
        ("text", "banking77/train.csv", "accuracy"),
        ("number", "stsb", "spearman"),
        ("tokens", "wnut17", "entity_f1"),
    ],
)
def test_real_data_as_a_user_gives_them(
    pretrained: Callable[..., Path],
    labelled_data: Path,
    tmp_path: Path,
    task: str,
    path: str,
    score: str,
) -> None:
    data, columns = labelled_data / path, list[str]()
    if task == "number":  # the folder has two languages
        data = tmp_path / "stsb"
        data.mkdir()
        for file in (labelled_data / path).glob("stsb-en-*.csv"):
            lines = islice(file.open(encoding="utf-8"), 60)
            (data / file.name).write_text("".join(lines), encoding="utf-8")
        columns = ["data.columns=[text,text_pair,score]"]
    few = "examples_per_class=1" if task == "text" else "train_examples=40"
    done = call(
        f"task={task}", f"data.path={data}", *columns, f"init_from={pretrained()}", f"data.{few}",
        "trainer.max_steps=2", "trainer.accelerator=cpu", "batch.max_length=32",
        "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = summary(tmp_path / "run")
    assert next(iter(found["test"])) == score
    assert found["examples"]["train"] == (77 if task == "text" else 40)
    assert found["classes"] == {"text": 77, "number": None, "tokens": 13}[task]
    assert done.stdout.count("new: classifier") == 1
    assert found["baselines"]
    bert = bert_lightning.load(tmp_path / "run")
    assert isinstance(bert, FineTunedBert)
    if task == "text":
        said = bert.classify("my card still has not arrived")
        assert said.label in bert.names
        assert "card_arrival" in bert.names
        assert said.probability >= 1 / 77
    elif task == "number":
        assert 0 <= bert.score("A man plays.", "A woman sings.") <= 5
    else:
        assert {"O", "B-person", "I-person"} <= set(bert.names)
        assert [word for word, _ in bert.tag("Empire State Building")] == [
            *("Empire", "State", "Building")
        ]


# Processes.


def weights(run_dir: Path) -> torch.Tensor:
    found = read(run_dir / "checkpoints" / "last.ckpt")["state_dict"]
    return torch.cat([value.flatten() for value in found.values()])


@pytest.mark.parametrize("kind", ["text", "tokens"])
def test_two_processes_agree_with_one(task_config: TaskConfigs, tmp_path: Path, kind: str) -> None:
    config = task_config(tmp_path, kind, **{"trainer.precision": "64-true"})
    for folder, more in (("one", []), ("two", ["trainer.devices=2", "batch.micro_batch_size=6"])):
        done = call(*options_of(config), *more, f"hydra.run.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("predictions ") == 1  # one process speaks for the run
    one, two = (tmp_path / name for name in ("one", "two"))
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-6, atol=1e-8)
    assert read(two / "checkpoints" / "last.ckpt")["bert_lightning"]["progress"]["world_size"] == 2
    for split in ("validation", "test"):
        for name, value in summary(one)[split].items():
            assert summary(two)[split][name] == pytest.approx(value, rel=1e-5, abs=1e-6)
    one_curves, two_curves = (curves_of(run) for run in (one, two))
    for name in (name for name in one_curves if name.startswith("val/")):
        torch.testing.assert_close(two_curves[name], one_curves[name], rtol=1e-5, atol=1e-6)


def curves_of(run_dir: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return read(run_dir / "checkpoints" / "last.ckpt")["bert_lightning"]["progress"]["curves"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_resumes_exactly_by_its_folder_alone(
    task_config: TaskConfigs,
    start: Callable[..., Run],
    tmp_path: Path,
    how: signal.Signals,
) -> None:
    options = options_of(
        task_config(
            tmp_path, "text",
            **{"task.dropout": 0.1, "trainer.max_steps": 150, "trainer.val_check_interval": 50,
               "callbacks.every_n_train_steps": 10},
        )
    )  # fmt: skip
    whole, folder = tmp_path / "whole", tmp_path / "run"
    done = call(*options, f"hydra.run.dir={whole}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = start(folder, *options, f"hydra.run.dir={folder}", script=SCRIPT)
    run.until(lambda: len(list((folder / "checkpoints").glob("step=*.ckpt.json"))) >= 2)
    run.send(how)
    code = run.end()
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 143), run.stderr
    assert ("by SIGTERM; saved" in run.stderr) == (how == signal.SIGTERM)
    assert not (folder / "summary.json").exists()
    again = call(f"resume={folder}", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumes from step" in again.stdout
    assert_same(state(checkpoint(folder, 150)), state(checkpoint(whole, 150)))
    for name in ("validation", "test", "best_step", "steps", "baselines"):
        assert summary(folder)[name] == summary(whole)[name]
    assert (folder / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    refused = call(f"resume={folder}", "seed=3", cwd=tmp_path)
    assert refused.returncode == 2
    assert "seed=3, and it was 0" in refused.stderr


# Mistakes.


def test_a_mistake_is_one_message_and_leaves_nothing(
    task_config: TaskConfigs, tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "train.csv", COLORS)
    one_class = write_csv(tmp_path / "one.csv", [(text, "red") for text, _ in COLORS])
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("train-a.csv", "train-b.csv"):
        write_csv(folder / name, COLORS)
    config = task_config(tmp_path)
    good = [f"init_from={config.init_from}", f"data.path={file}", "trainer.accelerator=cpu"]
    for wrong, expected in {
        ("data.path=" + str(file),): "init_from names no pretrained model",
        (good[0],): "data.path names no labelled examples",
        (*good, "batch.max_length=4000"): "batch.max_length=4000 is more than the 512 positions",
        (*good, "task.label_column=colour"): "has no column 'colour'; it has text, label",
        (*good, f"data.path={one_class}"): "every label is 'red'; a task needs two classes",
        (*good, "task=pair"): "has no column of the second text by a usual name",
        (*good, f"data.path={folder}"): "could be the train split: train-a.csv, train-b.csv",
        (*good, "task=txt"): "text",
        (*good, "model.hidden_size=4"): "model",
        (*good, "init_from=nowhere/at/all"): "does not exist",
        (*good, "optim.warmup_steps=900"): "optim.warmup_steps=900 is longer than the run",
        (*good, f"resume={config.init_from}"): "holds a run of pretraining, not of fine-tuning",
    }.items():
        done = call(*wrong, "hydra.run.dir=run", cwd=tmp_path)
        if any(option.startswith("resume=") for option in wrong):
            done = call(*wrong, cwd=tmp_path)
        assert done.returncode == 2, (wrong, done.stdout, done.stderr)
        assert expected in done.stderr, (wrong, done.stderr)
        assert done.stderr.count("error: ") == 1
        assert "Traceback" not in done.stderr
        left = {path.name for path in tmp_path.glob("run/**/*") if path.is_file()}
        assert not [name for name in left if name.endswith((".ckpt", ".json", ".csv"))], left


# Other commands on a run of fine-tuning.


@pytest.fixture(scope="module")
def tuned(task_config: TaskConfigs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    done = call(*options_of(task_config(folder)), "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("replay", ["3"], "holds a run of fine-tuning, not of pretraining"),
        ("evaluate", [], "was fine-tuned for task=text"),
        ("fill_mask", ["the [MASK] moves"], "or train it from these weights with init_from="),
        (
            "is_next",
            ["the crane moves", "the lamp"],
            "or train it from these weights with init_from=",
        ),
    ],
)
def test_what_a_fine_tuned_model_cannot_do_is_refused(
    tuned: Path, script: str, arguments: list[str], expected: str
) -> None:
    done = call(tuned, *arguments, cwd=tuned.parent, script=ROOT / "scripts" / f"{script}.py")
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr
    assert done.stderr.count("error: ") == 1


def test_pretraining_does_not_resume_it(tuned: Path) -> None:
    done = call(f"resume={tuned}", cwd=tuned.parent, script=ROOT / "train.py")
    assert done.returncode == 2
    assert "holds a run of fine-tuning, not of pretraining" in done.stderr


def test_a_doctor_compares_it_with_its_baselines(tuned: Path) -> None:
    script = ROOT / "scripts" / "doctor.py"
    done = call(tuned, "--json", cwd=tuned.parent, script=script)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert list(checks) == ["waiting for data", "learned"]
    assert (
        checks["learned"]["numbers"]["majority"]
        == summary(tuned)["baselines"]["majority"]["accuracy"]
    )


def test_its_encoder_serves_as_any_other(
    tuned: Path, task_config: TaskConfigs, tmp_path: Path
) -> None:
    """Another task may start from it, and its vectors can be read."""
    config = replace(task_config(tmp_path / "again", "number"), init_from=str(tuned))
    done = call(*options_of(config), "hydra.run.dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    script = ROOT / "scripts" / "encode.py"
    encoded = call(tuned, "the crane moves", cwd=tmp_path, script=script)
    assert encoded.returncode == 0, encoded.stderr
