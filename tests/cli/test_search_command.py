"""Mistakes in the command line of a search: one message each, and nothing begins."""

import logging
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

pytest.importorskip("optuna", reason="a search needs Optuna")

from bert_lightning.cli import app
from bert_lightning.cli.many_runs import sweep as sweeps
from bert_lightning.cli.schema import conf_dir
from bert_lightning.cli.search.journal import JOURNAL, Journal
from bert_lightning.runs.launched import TRIALS

Refusal = Callable[..., str]


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Refusal]:
    """Runs a command line that is a mistake; returns its one message."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        own = ["hparams_search=pretrain", "hydra.sweep.dir=search"]
        monkeypatch.setattr(sys, "argv", ["train.py", *own, *arguments])
        with pytest.raises(SystemExit) as ended:
            app.run(conf_dir(), lambda _: pytest.fail("a search is no run"))
        error = capfd.readouterr().err
        assert ended.value.code == 2
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert not [*tmp_path.glob("search/*/.hydra")]
        return error

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    GlobalHydra.instance().clear()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("optim.lrr=interval(0.1,0.2)", "optim.lrr: no such option; did you mean 'optim.lr'?"),
        ("optim.lr=interval(-1,1)", "optim.lr=-1 must be"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0 must be at least 1"),
        ("hydra.sweeper.n_trial=3", "n_trial: no such option; did you mean 'n_trials'?"),
        ("hydra.sweeper.direction=maximize", "val/loss is better when it is lower: omit the"),
        ("optimized_metric=loss", "optimized_metric=loss: expects the name of a curve"),
        ("optimized_metric=train/loss", "is no score of them: name one such as val/loss"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0 makes none: omit it"),
        ("trainer.max_steps=100", "and a trial has 1: lower trainer.val_check_interval"),
        ("hparams_search=pretrian", "unknown hparams_search 'pretrian'; choose from finetune, pre"),
    ],
)
def test_mistakes(refusal: Refusal, argument: str, says: str) -> None:
    assert says in refusal(argument)


def test_a_folder_of_another_search_or_sweep_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / TRIALS).touch()
    assert "search holds a sweep, and no search: hydra.sweep.dir=FOLDER" in refusal()
    Journal(folder / JOURNAL, lower=True).identify({"optim.lr": "interval(1,2)"})
    assert "optim.lr=tag(log, interval(5e-4, 5e-2)), and it was interval(1,2)" in refusal()


def test_without_optuna_a_message_has_the_command(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "find_spec", lambda name: None if name == "optuna" else find_spec)
    assert "pip install 'bert-lightning[search]'" in refusal()


def test_an_option_of_a_search_without_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "hydra.sweeper.n_trials=3", "seed=1,2"])
    with pytest.raises(SystemExit):
        app.run(conf_dir(), lambda _: None)
    GlobalHydra.instance().clear()
    assert "n_trials belongs to a search: name one with hparams_search=" in capfd.readouterr().err
