"""Sweeps: the command line of each trial, what becomes of those that fail, and their result.

A trial is a small program here, which notes its arguments; `tests/training` has real ones.
"""

import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins

from bert_lightning.cli import app
from bert_lightning.cli.schema import conf_dir

TRIAL = """
import json, pathlib, sys
arguments = sys.argv[1:]
with open("trials.jsonl", "a") as file:
    file.write(json.dumps(arguments) + "\\n")
(folder,) = [one.partition("=")[2].strip("'") for one in arguments if "hydra.run.dir=" in one]
if "seed=3" in arguments:
    sys.exit(3)
if "seed=5" in arguments:
    import signal, time
    def stop(*_):
        pathlib.Path(folder, "saved").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, stop)
    pathlib.Path(folder, "begun").touch()
    time.sleep(100)
if "seed=9" in arguments:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
scores = {"validation": {"loss": 4.5}}
summary = {"loaded": scores, "validation": {"loss": 5.0}} if "test=True" in arguments else {}
pathlib.Path(folder, "summary.json").write_text(json.dumps(summary))
"""
Sweep = Callable[..., tuple[int, list[list[str]]]]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """Runs a sweep with these arguments; returns its exit code and the arguments of its trials."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "this_program", lambda: [sys.executable, "-S", "-c", TRIAL])

    def run(*arguments: str) -> tuple[int, list[list[str]]]:
        monkeypatch.setattr(sys, "argv", ["train.py", "hydra.sweep.dir=sweep", *arguments])
        code: Any = 0
        try:
            app.run(conf_dir(), lambda _: pytest.fail("a trial is no process of its own"))
        except SystemExit as ended:
            code = ended.code
        noted = tmp_path / "trials.jsonl"
        lines = noted.read_text().splitlines() if noted.exists() else []
        return code, [json.loads(line) for line in lines]

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    GlobalHydra.instance().clear()
    root.handlers[:], root.level = handlers, level


def without_folder(trials: list[list[str]]) -> list[list[str]]:
    return [[one for one in trial if not one.startswith("hydra.")] for trial in trials]


@pytest.mark.slow
def test_each_trial_is_a_run_in_a_folder_of_its_own(sweep: Sweep, tmp_path: Path) -> None:
    code, trials = sweep("model=tiny", "-m", "seed=1,2")
    assert (code, without_folder(trials)) == (
        0,
        [["model=tiny", "seed=1"], ["model=tiny", "seed=2"]],
    )
    folders = [trial[-1] for trial in trials]
    assert folders == [f"hydra.run.dir='{tmp_path}/sweep/{number}'" for number in (0, 1)]
    assert all("hydra.mode=RUN" in trial for trial in trials)


@pytest.mark.slow
def test_trials_that_fail_stop_no_other_and_are_named(
    sweep: Sweep, capfd: pytest.CaptureFixture[str]
) -> None:
    code, trials = sweep("-m", "seed=3,9,1", "optim.lr=1e-3,1e-4", "test=True")
    assert len(trials) == 6
    assert code == 128 + 9
    assert capfd.readouterr().err == (
        "trials that failed: 0 (seed=3 optim.lr=0.001; exit code 3), "
        "1 (seed=3 optim.lr=0.0001; exit code 3), 2 (seed=9 optim.lr=0.001; exit code 137), "
        "3 (seed=9 optim.lr=0.0001; exit code 137); their folders are in sweep\n"
    )
    assert sweep("-m", "seed=1")[0] == 0  # what failed in an earlier sweep is forgotten


@pytest.mark.slow
def test_a_sweeper_gets_the_validation_loss_of_each_trial(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    sweeper = Plugins.instance().class_name_to_class[name]
    results: list[float] = []
    original = sweeper.sweep

    def spied(self: Any, arguments: list[str]) -> Any:
        batches = original(self, arguments)
        results.extend(one.return_value for batch in batches for one in batch)
        return batches

    monkeypatch.setattr(sweeper, "sweep", spied)
    sweep("-m", "seed=1,3", "test=true")
    assert results[0] == 4.5
    assert math.isnan(results[1])
    results.clear()
    sweep("-m", "seed=1", "test=false")  # a run without validation
    assert math.isnan(results[0])


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--config-path", "--config-dir", "-cp", "-cd"])
def test_a_folder_of_ones_own_reaches_the_trials(sweep: Sweep, tmp_path: Path, flag: str) -> None:
    own = tmp_path / "my conf=1"
    own.mkdir()
    (own / "train.yaml").write_text("defaults:\n- train_schema\n- _self_\nseed: 77\n")
    _, trials = sweep("-m", flag, "my conf=1", "test=true,false")
    name = "--config-path" if flag in ("--config-path", "-cp") else "--config-dir"
    assert [trial[0] for trial in trials] == [f"{name}={own}"] * 2
    assert without_folder(trials)[0][1:] == ["test=True"]


@pytest.mark.slow
def test_the_name_of_a_config_and_options_of_hydra_reach_the_trials(
    sweep: Sweep, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.yaml").write_text("defaults:\n- train\n- _self_\nseed: 77\n")
    flags = ["--config-dir=own", "-cn", "mine", "hydra.verbose=true"]
    _, trials = sweep(*flags, "-m", "seed=1,2", "debug=traceback")
    for trial in trials:
        assert {"--config-name=mine", "hydra.verbose=true", "debug=traceback"} <= {*trial}


@pytest.mark.slow
def test_a_config_that_sweeps_by_itself_starts_runs_not_sweeps(
    sweep: Sweep, tmp_path: Path
) -> None:
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "rates.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      optim.lr: 0.1,0.2\n"
    )
    _, trials = sweep("--config-dir=own", "experiment=rates")
    assert [trial[1:3] for trial in trials] == [
        ["optim.lr=0.1", "experiment=rates"],
        ["optim.lr=0.2", "experiment=rates"],
    ]
    assert all("hydra.mode=RUN" in trial for trial in trials)


@pytest.mark.slow
def test_values_reach_the_trials_as_they_are_typed(sweep: Sweep) -> None:
    sources = "init_from=runs/a/checkpoints/step=000002.ckpt,b (ü)=1"
    _, trials = sweep("-m", sources, "data.path=a'b", "test=true")
    assert [trial[:2] for trial in without_folder(trials)] == [
        ["init_from='runs/a/checkpoints/step=000002.ckpt'", "data.path='a\\'b'"],
        ["init_from='b (ü)=1'", "data.path='a\\'b'"],
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("-m run_dir=mine seed=1,2", "run_dir=mine would be the folder of every trial of this"),
        ("-m --config-dir=absent seed=1", "--config-dir=absent: there is no folder "),
        ("--config-path absent", "--config-path=absent: there is no folder "),
        ("-m --config-name absent seed=1", "Cannot find primary config 'absent'"),
        ("--multi-run seed=1", "unrecognized arguments: --multi-run seed=1; --hydra-help"),
        ("-m --run seed=1", "--run and --multirun exclude each other"),
        ("--resolve seed=1", "--resolve would change nothing: it belongs to --cfg=job"),
        ("-p model", "--package=model would change nothing"),
        ("--experimental-rerun x.pkl", "--experimental-rerun=x.pkl reads a pickle"),
        ("--cfg all -m", "--multirun and --cfg exclude each other"),
    ],
)
def test_flags_that_cannot_be_heeded_are_refused(
    sweep: Sweep, capfd: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    assert sweep(*arguments.split()) == (2, [])
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_joblib_hides_no_trial_that_fails(sweep: Sweep, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    code, trials = sweep("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,3,2")
    assert code == 3
    assert sorted(trial[0] for trial in trials) == ["seed=1", "seed=2", "seed=3"]
    assert "trials that failed: 1 (seed=3; exit code 3)" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_stop_signal_ends_a_sweep_after_its_trials_have_saved(
    sweep: Sweep, capfd: pytest.CaptureFixture[str], tmp_path: Path, launcher: str
) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    together = 2 if launcher == "joblib" else 1
    options = [f"hydra/launcher={launcher}", *["hydra.launcher.n_jobs=2"] * (together == 2)]

    def send() -> None:
        deadline = time.monotonic() + 300
        while len([*tmp_path.glob("sweep/*/begun")]) < together and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    code, trials = sweep("-m", *options, "seed=5", "optim.lr=1e-3,1e-4,1e-5")
    sender.join()
    assert code == 128 + signal.SIGTERM
    assert len(trials) == len([*tmp_path.glob("sweep/*/saved")]) == together
    assert capfd.readouterr().err.count("the sweep was stopped; its trials are in sweep") == 1
