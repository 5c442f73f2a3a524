"""The folders of a sweep's trials: safe on every system, and each different from the others."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bert_lightning.cli.many_runs.naming import trial_name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["optim.lr=0.001", "seed=1"], "optim.lr=0.001,seed=1"),
        (["model=tiny"], "model=tiny"),
        (["test=True", "optim.ema_decay=null"], "test=true,optim.ema_decay=null"),
        (["optim.lr=1e-05"], "optim.lr=1e-05"),
    ],
)
def test_a_folder_carries_the_options_that_its_sweep_varies(options: list[str], name: str) -> None:
    assert trial_name(options) == name


@pytest.mark.parametrize(
    "value",
    [
        "'a:b'",
        "'a*b'",
        "'a/b'",
        "'a\\\\b'",
        "'a b'",
        "'größe'",
        "'A'",
        "'a?'",
        "'<|>'",
        f"{'x' * 400}",
    ],
)
def test_whatever_a_value_is_the_name_is_safe_and_another_than_that_of_others(value: str) -> None:
    name = trial_name([f"data.path={value}"])
    assert re.fullmatch(r"[A-Za-z0-9._=,+-]{1,100}", name)
    assert not name.endswith(".")
    alike = ["a", "a_b", "gr_e", "_", "x" * 100, "x" * 399]
    others = {trial_name([f"data.path='{other}'"]).lower() for other in alike}
    assert name.lower() not in others


def resolved(sweep: Path, number: int, *options: str) -> str:
    """The folder of a trial, as a launcher resolves it in the trial's config."""
    job = {"num": number, "config": {"override_dirname": {"exclude_keys": ["model"]}}}
    hydra = {
        "job": job,
        "overrides": {"task": [*options]},
        "sweep": {"dir": str(sweep), "subdir": "${trial_folder:}"},
    }
    return str(OmegaConf.select(OmegaConf.create({"hydra": hydra}), "hydra.sweep.subdir"))


def test_what_is_alike_in_all_trials_is_no_part_of_the_name(tmp_path: Path) -> None:
    assert resolved(tmp_path, 0, "model=tiny", "seed=1") == "seed=1"
    assert resolved(tmp_path, 0, "model=tiny") == "0"


def test_a_trial_of_the_same_options_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = [resolved(tmp_path, number, "seed=1") for number in (0, 1, 1, 0)]
    assert names == ["seed=1", "seed=1-1", "seed=1-1", "seed=1"]
    assert resolved(tmp_path / "another", 3, "seed=1") == "seed=1"
