"""Probes over a run: of each checkpoint it kept, and after the validations while it trains."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from left_behind import assert_same, checkpoint, logged, read
from real_runs import Run

from bert_lightning.cli.main import command
from bert_lightning.config import ProbeConfig, TrainConfig, TrainerConfig
from bert_lightning.config.task import TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.probing.while_training import drawn, probes_of
from bert_lightning.pretrained.sources import checkpoints_of_run
from bert_lightning.reports.run_report import report
from bert_lightning.runs.curves import read_curves
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]
STEPS, PROBED = 5, [4, 5]
"""Of three validations every second one is probed, and so is the last."""
RUN = (
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=2",
    "callbacks.every_n_train_steps=1",
    "callbacks.save_top_k=99",
    "model.hidden_dropout_prob=0.2",
)


@pytest.fixture(scope="module")
def probed(
    small_config: Config, labelled: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainConfig, str]:
    """The config of a run with a probe that has ended, and what it reported."""
    options = (f"probe.path={labelled['text']}", "probe.every_n_validations=2", "probe.examples=60")
    config = small_config(tmp_path_factory.mktemp("probed"), *RUN, *options)
    return config, report(fit(config, callbacks=probes_of(config)))


@pytest.mark.slow
def test_a_probe_changes_nothing_that_a_run_learns(
    probed: tuple[TrainConfig, str], small_config: Config, tmp_path: Path
) -> None:
    fit(small_config(tmp_path, *RUN))
    folder = probed[0].folder
    of_both = [read(checkpoint(one, STEPS)) for one in (folder, tmp_path)]
    for name in ("state_dict", "optimizer_states"):
        assert_same(of_both[0][name], of_both[1][name])
    ours, theirs = read_curves(folder), read_curves(tmp_path)
    for name in theirs:
        assert name.startswith("work/") or ours[name] == theirs[name], name
    assert all(name.startswith("probe/") for name in ours.keys() - theirs)


@pytest.mark.slow
def test_a_probe_is_in_the_curves_the_loggers_and_the_results(
    probed: tuple[TrainConfig, str],
) -> None:
    config, told = probed
    curves, events = read_curves(config.folder), logged(config.folder, "tensorboard")
    summary = json.loads((config.folder / "summary.json").read_text())["probe"]
    names = {"mix_accuracy", "best_layer_accuracy", "best_layer", "majority_accuracy"}
    assert summary.keys() == names
    for name in names:
        curve = curves[f"probe/{name}"]
        assert [step for step, _ in curve] == PROBED
        assert [value for _, value in events[f"probe/{name}"]] == pytest.approx(
            [value for _, value in curve]
        )
        assert summary[name] == curve[-1][1]
    assert 0 <= summary["majority_accuracy"] <= 1
    assert (
        f"probe       of {config.probe.path}: mix of layers {summary['mix_accuracy']:.3f}" in told
    )


@pytest.mark.slow
def test_a_run_with_a_probe_resumes(
    probed: tuple[TrainConfig, str], small_config: Config, tmp_path: Path
) -> None:
    before, _ = probed
    folder = tmp_path / "run"
    shutil.copytree(before.folder, folder)
    for file in (folder / "checkpoints").glob("step=000005*"):
        file.unlink()
    options = (f"probe.path={before.probe.path}", "probe.every_n_validations=2")
    config = small_config(folder, *RUN, *options, "probe.examples=60", f"resume={folder}")
    fit(config, callbacks=probes_of(config))
    ours, theirs = read_curves(folder), read_curves(before.folder)
    for name in ours:
        assert name.startswith("work/") or ours[name] == theirs[name], name


@pytest.mark.slow
def test_two_ranks_probe_as_one(
    probed: tuple[TrainConfig, str],
    small_run: Callable[..., list[str]],
    start: Callable[..., Run],
    tmp_path: Path,
) -> None:
    config, _ = probed
    options = [
        f"probe.path={config.probe.path}",
        "probe.examples=60",
        "model.hidden_dropout_prob=0",
    ]
    common = [*small_run(*RUN), *options, "trainer.precision=64-true", "logger=none"]
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        run = start(folder, *common, f"trainer.devices={devices}", f"run_dir={folder}")
        assert run.process.wait(300) == 0, run.stderr
        assert run.stdout.count("probe       of ") == 1
        curves = read_curves(folder)
        found.append({name: curves[name] for name in curves if name.startswith("probe/")})
        assert [step for step, _ in found[-1]["probe/mix_accuracy"]] == [2, 4, 5]
    assert found[0] == found[1]


@pytest.mark.slow
def test_all_checkpoints_of_a_run_become_curves_beside_its_own(
    probed: tuple[TrainConfig, str],
    labelled: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(probed[0].folder, folder)
    for step in (1, 3):
        (folder / "checkpoints" / f"step={step:06d}.ckpt").unlink(missing_ok=True)
    (folder / "checkpoints" / "step=000004.ckpt").write_bytes(b"corrupted")
    arguments = [str(folder), "task=text", f"data.path={labelled['text']}", "--all-checkpoints"]
    own = logged(folder, "tensorboard")
    command("probe")([*arguments, "data.train_examples=20"])
    command("probe")(arguments)  # takes the place of the first
    shown = capsys.readouterr().out
    assert "step=000004.ckpt is corrupt" in caplog.text
    results = json.loads((folder / "probes" / "text-text.csv.json").read_text())
    assert [one["step"] for one in results] == [2, 5]
    events = logged(folder, "tensorboard")
    assert {name: events.pop(name) for name in own} == own
    mixes = [one["probes"]["mix"]["accuracy"] for one in results]
    best = [max(layer["accuracy"] for layer in one["probes"]["layers"]) for one in results]
    majority = [one["probes"]["majority"] for one in results]
    for name, expected in (("mix", mixes), ("best_layer", best), ("majority", majority)):
        curve = events[f"checkpoints/text-text.csv/{name}_accuracy"]
        assert [step for step, _ in curve] == [2, 5]
        assert [value for _, value in curve] == pytest.approx(expected)
    row = next(line for line in shown.splitlines()[::-1] if line.strip().startswith("5 "))
    for value in (mixes[-1], best[-1], majority[-1]):
        assert f"{value:.1%}" in row
    assert "2 checkpoints are left of this run: callbacks.save_top_k=1000 keeps one after" in shown


def test_all_checkpoints_are_those_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    file.touch()
    for path in (file, tmp_path / "none"):
        with pytest.raises(UserError, match="is not the folder of a run, all of whose checkpoints"):
            checkpoints_of_run(str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no checkpoint"):
        checkpoints_of_run(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"path": "absent.csv"}, r"probe: probe\.path=absent\.csv: .* does not exist"),
        ({"path": "x", "task": TaskKind.number}, r"probe\.task=number: a probe tells classes"),
    ],
)
def test_a_probe_that_cannot_be_is_refused(probe: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        probes_of(TrainConfig(probe=ProbeConfig(**probe)))


def test_a_probe_follows_validations(labelled: dict[str, Path]) -> None:
    probe = ProbeConfig(path=str(labelled["text"]))
    with pytest.raises(UserError, match=r"probe\.path=.* with trainer\.limit_val_batches=0"):
        TrainConfig(probe=probe, trainer=TrainerConfig(limit_val_batches=0))


def test_a_probe_draws_about_as_many_labels_as_its_options_say() -> None:
    sentences = [
        LabelledExample(("word",) * length, ["O"] * length, "")
        for length in np.random.default_rng(0).integers(1, 40, 400).tolist()
    ]
    chosen = drawn(sentences, TaskKind.tokens, 1000)
    assert 800 < sum(len(sentence.texts) for sentence in chosen) < 1200
    assert chosen == drawn(sentences, TaskKind.tokens, 1000)
    assert drawn(sentences, TaskKind.tokens, 10**6) == sentences
    texts = [LabelledExample(("a",), label, "") for label in "ab" * 500]
    labels = [example.label for example in drawn(texts, TaskKind.text, 500)]
    assert len(labels) == 500
    assert 200 < labels.count("a") < 300
