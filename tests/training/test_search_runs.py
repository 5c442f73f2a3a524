"""A search of real runs: killed, continued; its promoted trial equals an uninterrupted run."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import ROOT
from real_runs import Run

journal = pytest.importorskip("bert_lightning.cli.search.journal", reason="no Optuna")
RATES = ("3e-3", "1e-3", "3e-4")


@pytest.mark.slow
def test_a_promoted_trial_of_a_killed_search_equals_an_uninterrupted_run(
    small_run: Callable[..., list[str]], start: Callable[..., Run], tmp_path: Path
) -> None:
    """Bit for bit."""
    options = small_run("model.hidden_dropout_prob=0.1", "trainer.val_check_interval=2", "seed=3")
    sweeper = ("n_trials=2", "reduction_factor=3", "min_validations=1")
    command = [
        *("-m", "hparams_search=pretrain", "hydra.sweep.dir=search", "resume=auto"),
        *(f"hydra.sweeper.{option}" for option in sweeper),
        *("optim.matrix_lr=0.015", f"optim.lr={','.join(RATES)}", *options),
    ]
    folder = tmp_path / "search"
    killed = start(folder, *command)
    killed.until(lambda: "paused at step 2" in killed.stdout)
    killed.send(signal.SIGKILL)
    killed.end()
    search = start(folder, *command)
    assert search.end() == 0, search.stdout + search.stderr
    trials = journal.Journal(folder / journal.JOURNAL, lower=True).trials()
    assert sorted(trial.state.value for trial in trials) == ["complete", "pruned"]
    (best,) = [trial for trial in trials if trial.state is journal.State.complete]
    assert best.rung >= 1
    assert f"trial {best.number}     resumes after step 2" in search.stdout
    assert "1 run by val/loss" in search.stdout

    rate = f"optim.lr={best.values['optim.lr']}"
    alone = start(
        tmp_path / "alone", *options, rate, "hydra.run.dir=alone", script=ROOT / "train.py"
    )
    assert alone.end() == 0, alone.stderr
    ours, theirs = (
        torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)
        for place in (folder / best.folder, tmp_path / "alone")
    )
    assert ours["global_step"] == theirs["global_step"] == 6
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name, weight in ours["state_dict"].items():
        assert torch.equal(weight, theirs["state_dict"][name]), name
