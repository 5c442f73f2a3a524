"""`bert_lightning.fit` in plain Python: what the command line does, and no trace of it left."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf

import bert_lightning
from bert_lightning import TrainConfig
from bert_lightning.api import fit as api
from bert_lightning.api.result import RunResult
from bert_lightning.cli.from_python import compose_run
from bert_lightning.config import BatchConfig, OptimConfig, PhaseConfig, TrainerConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.runs.curves import read_curves

ROOT = Path(__file__).parents[1]
SmallRun = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, below which runs get their folders."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loggers() -> list[logging.Logger]:
    names = ("bert_lightning", "lightning.pytorch", "lightning.fabric", "hydra")
    return [logging.getLogger(), *map(logging.getLogger, names)]


def state() -> dict[str, Any]:
    """What a program shares with the runs in its process."""
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hydra": GlobalHydra.instance().is_initialized(),
        "schemas": set(ConfigStore.instance().repo),
        "oc.env": OmegaConf.has_resolver("oc.env"),
        "warnings": list(warnings.filters),
        "logging": [(logger.level, [*logger.handlers], logger.propagate) for logger in loggers()],
        "environment": dict(os.environ),
        "arguments": list(sys.argv),
        "hooks": (sys.excepthook, threading.excepthook),
        "random": torch.get_rng_state().tolist(),
        "torch": (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()),
        "dtype": (torch.get_default_dtype(), torch.is_grad_enabled()),
    }


@pytest.fixture(scope="module")
def result(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    run = tmp_path_factory.mktemp("runs") / "run"
    return bert_lightning.fit(small_run(f"run_dir={run}"))


def test_importing_the_package_imports_nothing_large() -> None:
    heavy = {"torch", "numpy", "hydra", "lightning", "importlib.metadata"}
    code = f"import sys, bert_lightning; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert set(bert_lightning.__all__) == {"TrainConfig", "__version__", "finetune", "fit", "load"}
    for name in bert_lightning.__all__:
        assert getattr(bert_lightning, name)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = bert_lightning.fitt


def test_the_defaults_are_those_of_the_command_line() -> None:
    config, options = compose_run([])
    assert options == []
    assert replace(config, run_dir=None) == TrainConfig()


@pytest.mark.slow
def test_options_and_a_config_are_the_same_run() -> None:
    phases = [PhaseConfig(fraction=0.9, max_length=64), PhaseConfig(fraction=0.1)]
    given = TrainConfig(
        seed=3,
        batch=BatchConfig(phases=phases),
        optim=OptimConfig(lr=1e-3, ema_decay=0.99),
        trainer=TrainerConfig(devices=[0], val_check_interval=0.5),
    )
    options = [
        "seed=3",
        "batch.phases=[{fraction:0.9,max_length:64},{fraction:0.1}]",
        "optim.lr=1e-3",
        "optim.ema_decay=0.99",
        "trainer.devices=[0]",
        "trainer.val_check_interval=0.5",
    ]
    from_config, stand_in = compose_run(given)
    assert replace(from_config, run_dir=None) == given
    for other in (options, stand_in):
        assert replace(compose_run(other)[0], run_dir=None) == given


def test_a_run_has_a_new_folder_unless_it_is_named(result: RunResult) -> None:
    time = r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}"
    assert re.fullmatch(
        rf"{time}_mini_text", str(compose_run(["model=mini", "data=text"])[0].folder)
    )
    assert re.fullmatch(time, str(compose_run(TrainConfig())[0].folder))
    for named in ("run_dir=here", "hydra.run.dir=here"):
        assert compose_run([named])[0].folder == Path("here")
    assert compose_run(TrainConfig(run_dir="here"))[0].folder == Path("here")
    again = [compose_run(["seed=1", "resume=auto"])[0].folder for _ in range(2)]
    assert again[0] == again[1]
    resumed = compose_run([f"resume={result.run_dir}"])[0]
    assert resumed.folder == result.run_dir
    assert resumed.model.hidden_size == 32


def changed_later(**options: Any) -> TrainConfig:
    """A config with values that it did not check."""
    config = TrainConfig()
    vars(config).update(options)
    return config


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["model=tinny"], "unknown model 'tinny'; choose from .*; did you mean 'tiny'?"),
        (["lr=1"], "lr: no such option; did you mean 'optim.lr'?"),
        (["optim.lr=fast"], "optim.lr=fast: expects a number"),
        (["optim.lr=-1"], "optim.lr=-1 must be above 0"),
        (["model=3"], "model=3: choose from base, .*"),
        (["tiny"], "tiny: this is not an override of the form option=value"),
        (["resume=absent"], "resume=absent: there is no folder .*"),
        (changed_later(test="maybe"), "test=maybe: expects true or false"),
    ],
)
def test_a_mistake_is_told_as_on_the_command_line(given: Any, says: str) -> None:
    before = state()
    with pytest.raises(UserError) as caught:
        bert_lightning.fit(given)
    assert re.fullmatch(says.replace("?", r"\?"), str(caught.value))
    assert state() == before
    assert caught.value._render_traceback_() == [f"UserError: {caught.value}"]


@pytest.mark.parametrize("given", [(3,), ("seed=1", 3), (TrainConfig, "seed=1")])
def test_what_is_neither_options_nor_a_config(given: Any) -> None:
    with pytest.raises(TypeError, match="takes options"):
        bert_lightning.fit(*given)


def test_the_result_is_that_of_the_folder(result: RunResult) -> None:
    bert = bert_lightning.load(result.run_dir)
    texts = ["the crane sees the river", ("the lamp", "the garden")]
    for ours, theirs in zip(result.bert.encode_many(texts), bert.encode_many(texts), strict=True):
        assert torch.equal(ours.vectors, theirs.vectors)
    assert result.curves == read_curves(result.run_dir)
    assert [step for step, _ in result.curves["val/loss"]] == [3, 6]
    assert result.summary == json.loads((result.run_dir / "summary.json").read_text())
    assert (result.run_dir / "train.log").stat().st_size
    assert re.fullmatch(
        r"RunResult\(.*run, 6 steps on text, MLM loss \d\.\d{3}, NSP loss \d\.\d{3}\)", repr(result)
    )


def test_a_notebook_shows_its_curves(result: RunResult, folder: Path) -> None:
    for shown in (result, result.plot()):
        assert shown._repr_png_().startswith(b"\x89PNG")
    titles = [axes.get_title() for axes in result.plot().axes]
    assert titles == ["masked language modeling", "next-sentence prediction"]
    result.plot().savefig(folder / "losses.pdf")
    assert (folder / "losses.pdf").read_bytes().startswith(b"%PDF")


class Counts(Callback):
    steps = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1


@pytest.mark.slow
def test_a_second_run_of_another_size_and_nothing_else_is_left(
    result: RunResult, small_run: SmallRun, folder: Path
) -> None:
    counts, logger = Counts(), CSVLogger(folder / "csv", name="", version="")
    given = small_run("model.hidden_size=16", "trainer.max_steps=4", "trainer.deterministic=true")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):  # the program's own Hydra
        before = state()
        other = bert_lightning.fit(*given, "run_dir=b", callbacks=[counts], loggers=[logger])
        assert state() == before
        assert compose("model/mini").model
    assert counts.steps == 4
    assert "train/mlm_loss" in (folder / "csv" / "metrics.csv").read_text()
    assert other.bert.encode("the crane").vectors.shape[1] == 16
    assert result.bert.encode("the crane").vectors.shape[1] == 32


class Interrupts(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_an_interrupt_saves_and_the_run_resumes(small_run: SmallRun) -> None:
    options = small_run("run_dir=run")
    before = state()
    with pytest.raises(RunEnded, match=r"^stopped at step \d by SIGINT; saved run/") as caught:
        bert_lightning.fit(options, callbacks=[Interrupts()])
    assert caught.value.exit_code == 128 + signal.SIGINT
    assert state() == before
    resumed = bert_lightning.fit("resume=run")
    assert [step for step, _ in resumed.curves["train/loss"]] == [1, 2, 3, 4, 5, 6]
    counts = Counts()
    again = bert_lightning.fit(options, "resume=auto", callbacks=[counts])
    assert (counts.steps, again.summary) == (0, resumed.summary)


def test_objects_do_not_cross_to_other_processes(small_run: SmallRun) -> None:
    several = [*small_run("run_dir=run"), "trainer.devices=2"]
    with pytest.raises(UserError, match=r"^trainer.devices=2 .*callbacks.own=\[module:Class\]"):
        bert_lightning.fit(several, callbacks=[Counts()])
    with pytest.raises(UserError, match=r"omit trainer.enable_checkpointing=false"):
        bert_lightning.fit(several, "trainer.enable_checkpointing=false")
    assert not Path("run").exists()


@pytest.mark.slow
def test_several_devices_train_in_processes_of_their_own(
    small_run: SmallRun, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state()
    result = bert_lightning.fit(small_run("run_dir=a run"), "trainer.devices=2")
    assert state() == before
    assert result.summary["devices"] == 2
    assert result.run_dir == Path("a run")
    assert [step for step, _ in result.curves["val/loss"]] == [3, 6]
    assert result.bert.encode("the crane sees the river").word("crane").shape == (32,)
    assert "validation  MLM" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^data.sentences=no:no: the module no cannot be imported"):
        bert_lightning.fit(small_run("run_dir=b"), "trainer.devices=2", "data.sentences=no:no")


def test_messages_go_to_the_programs_handlers(
    caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    with api.messages(folder, "train.log"):
        logging.getLogger("bert_lightning.some").info("a message")
    assert caplog.messages == ["a message"]
    assert "INFO bert_lightning.some: a message" in (folder / "train.log").read_text()
