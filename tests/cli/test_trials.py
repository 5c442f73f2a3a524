"""Sweeps: the command line of each trial, what becomes of those that fail, and their result.

A trial is a small program here, which notes its arguments; `tests/training` has real ones.
"""

import json
import logging
import math
import os
import signal
import subprocess
import sys
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
import hashlib, json, pathlib, sys
arguments = sys.argv[1:]
with open("trials.jsonl", "a") as file:
    file.write(json.dumps(arguments) + "\\n")
(folder,) = [one.partition("=")[2].strip("'") for one in arguments if "hydra.run.dir=" in one]
if "seed=3" in arguments:
    sys.exit(3)
if "seed=9" in arguments:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
scores = {"validation": {"loss": 4.5, "mlm_loss": 4.0}}
summary = {"loaded": scores, "validation": {"loss": 5.0}} if "test=True" in arguments else {}
pathlib.Path(folder, "run.json").write_text("{}")
summary["config_hash"] = hashlib.sha256(b"{}").hexdigest()
pathlib.Path(folder, "summary.json").write_text(json.dumps(summary))
"""
WAITS = """
import pathlib, signal, sys, time
(folder,) = [one.partition("=")[2].strip("'") for one in sys.argv if "hydra.run.dir=" in one]
def save(number, _):
    pathlib.Path(folder, "saved").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
pathlib.Path(folder, "ready").touch()
time.sleep(600)
"""
PROGRAM = f"""
import sys
from bert_lightning.cli import app
from bert_lightning.cli.schema import conf_dir
app.this_program = lambda: [sys.executable, "-S", "-c", {WAITS!r}]
app.run(conf_dir(), None)
"""
ROOT = Path(__file__).parents[2]
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


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def without_folder(trials: list[list[str]]) -> list[list[str]]:
    return [[one for one in trial if not one.startswith("hydra.")] for trial in trials]


@pytest.mark.slow
def test_each_trial_is_a_run_in_a_folder_of_its_own(sweep: Sweep, tmp_path: Path) -> None:
    code, trials = sweep("model=tiny", "seed=7", "-m", "seed=1,2")
    assert (code, without_folder(trials)) == (
        0,
        [["model=tiny", "seed=1"], ["model=tiny", "seed=2"]],
    )
    folders = [trial[-1] for trial in trials]
    assert folders == [f"hydra.run.dir='{tmp_path}/sweep/seed={seed}'" for seed in (1, 2)]
    assert all("hydra.mode=RUN" in trial for trial in trials)


@pytest.mark.slow
def test_trials_that_fail_stop_no_other_and_are_named(
    sweep: Sweep, capfd: pytest.CaptureFixture[str]
) -> None:
    code, trials = sweep("-m", "seed=3,9,1", "optim.lr=1e-3,1e-4", "test=True")
    assert len(trials) == 6
    assert code == 128 + 9
    shown = capfd.readouterr()
    assert shown.err == (
        "trials that failed: seed=3,optim.lr=0.001 (exit code 3), "
        "seed=3,optim.lr=0.0001 (exit code 3), seed=9,optim.lr=0.001 (exit code 137), "
        "seed=9,optim.lr=0.0001 (exit code 137); their folders are in sweep\n"
    )
    assert "2 runs by val/loss, the lowest first" in shown.out
    assert "not ranked  seed=9,optim.lr=0.0001: failed, exit code 137" in shown.out
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
    results.clear()
    sweep("-m", "seed=1", "test=true", "optimized_metric=val/mlm_loss")
    assert results == [4.0]


@pytest.mark.slow
def test_a_metric_that_no_trial_logs_ends_the_sweep_after_the_first(
    sweep: Sweep, capfd: pytest.CaptureFixture[str]
) -> None:
    code, trials = sweep("-m", "seed=1,2", "test=true", "optimized_metric=val/mlm_los")
    assert (code, len(trials)) == (2, 1)
    error = capfd.readouterr().err
    assert "error: optimized_metric=val/mlm_los is not logged by this run; did you mean" in error
    assert "it has val/loss, val/mlm_loss\n" in error


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
        ("-m optimized_metric=loss seed=1,2", "optimized_metric=loss: expects the name of a curve"),
        ("-m optimized_metric=test/loss seed=1,2", "the test split is not evaluated; add test="),
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
    shown = capfd.readouterr()
    assert "trials that failed: seed=3 (exit code 3); their folders are in sweep" in shown.err
    assert "not ranked  seed=3: failed, exit code 3" in shown.out


@pytest.mark.slow
def test_a_stop_signal_ends_the_trials_of_joblib_gracefully_and_begins_no_other(
    tmp_path: Path,
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    run = subprocess.Popen(
        [
            *(sys.executable, "-c", PROGRAM, "-m", "hydra/launcher=joblib"),
            *("hydra.launcher.n_jobs=2", "seed=1,2,3,4", "hydra.sweep.dir=sweep"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    notes = tmp_path / "sweep" / "trials.jsonl"
    try:
        until(lambda: [*tmp_path.glob("sweep/seed=*/ready")][1:])
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=300)
    finally:
        run.kill()
    assert run.returncode == 128 + signal.SIGTERM, errors
    ends = [note for note in map(json.loads, notes.read_text().splitlines()) if "exit_code" in note]
    assert sorted(note["exit_code"] for note in ends) == [143, 143]
    for name in ("ready", "saved"):
        assert {file.parent.name for file in tmp_path.glob(f"sweep/*/{name}")} == {
            "seed=1",
            "seed=2",
        }
    assert "trials that were stopped: seed=1 (exit code 143), seed=2 (exit code 143)" in errors
