"""What the processes of a run leave behind in the one that started them."""

import os
from types import SimpleNamespace
from typing import cast

import lightning as L  # noqa: N812
import pytest
from lightning.fabric.plugins.environments import LightningEnvironment

from bert_lightning.runs.processes import Launcher, all_processes
from bert_lightning.sizing.launcher import RANK_0


def test_no_variable_of_the_ranks_outlives_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "1")  # the user's own
    launcher = Launcher(LightningEnvironment(), 2, 1)
    monkeypatch.setattr(
        launcher, "_call_children_scripts", lambda: os.environ.update(LOCAL_RANK="0")
    )
    trainer = cast(L.Trainer, SimpleNamespace(strategy=SimpleNamespace(launcher=launcher)))
    before = dict(os.environ)
    with all_processes(trainer):
        launcher.launch(lambda: None)
        assert (os.environ[RANK_0], os.environ["LOCAL_RANK"]) == (str(os.getpid()), "0")
    left = {name: os.environ.get(name) for name in (RANK_0, "LOCAL_RANK", "WORLD_SIZE")}
    assert left == {name: before.get(name) for name in left}
    assert left["WORLD_SIZE"] == "1"
