"""A run that is given no seed draws one, says so, and keeps it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bert_lightning.config import TrainConfig
from bert_lightning.runs.seed import with_seed
from bert_lightning.sizing.launcher import RANK_0
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]


def test_a_drawn_seed_is_said_and_kept(
    small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    options = ("seed=null", "resume=auto")
    first = fit(small_config(tmp_path, *options, "trainer.max_steps=1"))
    seed = first.config.seed
    assert seed is not None
    assert any(message.endswith(f"; seed {seed}") for message in caplog.messages)
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == seed
    again = fit(small_config(tmp_path, *options, "trainer.max_steps=2", "allow_changes=true"))
    assert (again.config.seed, again.steps) == (seed, 2)


def test_all_processes_of_a_run_have_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    unseeded = replace(TrainConfig(), seed=None)
    drawn = {with_seed(unseeded, None).seed for _ in range(3)}
    assert len(drawn) == 3
    assert all(seed is not None and 0 <= seed < 2**32 for seed in drawn)
    first = with_seed(unseeded, None).seed
    monkeypatch.setenv(RANK_0, "17")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert with_seed(unseeded, None).seed == first

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    seeds: dict[str, set[int | None]] = {}
    for port in ("1234", "1235"):
        monkeypatch.setenv("MASTER_PORT", port)
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            monkeypatch.setenv("LOCAL_RANK", rank)
            seeds.setdefault(port, set()).add(with_seed(unseeded, None).seed)
    assert len(seeds["1234"]) == len(seeds["1235"]) == 1
    assert seeds["1234"] != seeds["1235"]
