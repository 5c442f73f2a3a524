"""What starts the processes of a run agrees with the options, or the run ends before it waits."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_lightning.errors import UserError
from bert_lightning.runs.launched import is_first_process, launched_externally
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.launcher import RANK_0, check_launch, launcher

ROOT = Path(__file__).parents[2]
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_JOB_NAME": "bert", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}
STEP = {"SLURM_STEP_ID": "0"}
BY_HAND = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500", "WORLD_SIZE": "4"}
INTERACTIVE = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "4"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_", "BERT_LIGHTNING_")):
            monkeypatch.delenv(name)
        if name.endswith("RANK") or name.endswith("WORLD_SIZE"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("says", "count", "nodes", "expected"),
    [
        ({}, 1, 2, "num_nodes=2.*torchrun --nnodes=2 --nproc_per_node=1 .*srun .*distributed.md"),
        ({}, 8, 4, "torchrun --nnodes=4 --nproc_per_node=8 "),
        ({"MASTER_ADDR": "node0", "MASTER_PORT": "1", "NODE_RANK": "0"}, 2, 2, "torchrun"),
        (TORCHRUN, 1, 1, "torchrun started 2 .* trainer.num_nodes=1 trainer.devices=2"),
        (TORCHRUN, 1, 2, "torchrun started 2 .* trainer.num_nodes=1 trainer.devices=2"),
        ({**SLURM, **STEP}, 2, 1, "SLURM started 4 .* trainer.num_nodes=2 trainer.devices=2"),
        ({**SLURM, **STEP}, 4, 1, "SLURM started 4 .* trainer.num_nodes=2 trainer.devices=2"),
        ({"SLURM_NTASKS": "1"}, 2, 1, "SLURM started 1 .* trainer.num_nodes=1 trainer.devices=1"),
        ({"SLURM_NTASKS": "4", **STEP}, 4, 1, "give --ntasks-per-node instead of --ntasks"),
        (SLURM, 2, 2, "put srun before the command .*SLURM_JOB_NAME=interactive"),
        (SLURM, 1, 1, "SLURM gave this job 4 tasks, and srun did not start this process"),
        (INTERACTIVE, 2, 2, "in a SLURM job of another name than bash or interactive"),
        ({**INTERACTIVE, "SLURM_STEP_NUM_TASKS": "4"}, 1, 1, "srun started 4 .*JOB_NAME=bert srun"),
        ({"RANK": "1"}, 1, 1, "RANK=1 says .* no launcher .* unset RANK"),
        ({"LOCAL_RANK": "3"}, 1, 1, "LOCAL_RANK=3 says .* unset LOCAL_RANK"),
        ({"LOCAL_RANK": "0"}, 2, 1, "LOCAL_RANK=0 says .* unset LOCAL_RANK"),
        ({"NODE_RANK": "1"}, 2, 1, "NODE_RANK=1 says .* unset NODE_RANK"),
        ({"WORLD_SIZE": "2"}, 1, 1, "WORLD_SIZE=2 says .* unset WORLD_SIZE"),
        ({"RANK": "first"}, 1, 1, "RANK=first in the environment must be a number"),
        ({"TORCHELASTIC_RUN_ID": "a"}, 1, 1, "WORLD_SIZE= in the environment must be a number"),
        ({**BY_HAND, "NODE_RANK": "0"}, 2, 1, "WORLD_SIZE=4 .* are 2 processes: they must agree"),
        ({**BY_HAND, "RANK": "3"}, 2, 2, "RANK=3 .* do not name one of the 4 processes"),
        ({**BY_HAND, "NODE_RANK": "2"}, 2, 2, "NODE_RANK=2 .* do not name one of the 4"),
        ({**BY_HAND, "RANK": "2", "LOCAL_RANK": "1"}, 4, 1, "RANK=2, LOCAL_RANK=1 .* NODE_RANK is"),
    ],
)
def test_what_would_wait_forever_or_leave_data_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, says: dict[str, str], count: int, nodes: int, expected: str
) -> None:
    for name, value in says.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=expected):
        check_launch(Devices("cpu", count, count, nodes))


@pytest.mark.parametrize(
    ("says", "count", "nodes", "by", "first"),
    [
        ({}, 1, 1, None, True),
        ({}, 4, 1, None, True),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 1, 1, None, True),  # as other runs leave them
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "LOCAL_RANK": "0"}, 1, 1, None, True),
        ({RANK_0: "17", "LOCAL_RANK": "1", "NODE_RANK": "0"}, 2, 1, None, False),
        ({**TORCHRUN, "RANK": "1"}, 2, 1, "torchrun", False),
        ({**SLURM, **STEP, "SLURM_PROCID": "0"}, 2, 2, "SLURM", True),
        ({**SLURM, **STEP, "SLURM_PROCID": "3"}, 2, 2, "SLURM", False),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, 1, 1, "SLURM", True),
        (INTERACTIVE, 2, 1, None, True),
        ({**BY_HAND, "NODE_RANK": "0"}, 2, 2, "the environment", True),
        ({**BY_HAND, "NODE_RANK": "1", "LOCAL_RANK": "1"}, 2, 2, "the environment", False),
        ({**BY_HAND, "RANK": "1", "NODE_RANK": "1"}, 2, 2, "the environment", False),
    ],
)  # fmt: skip
def test_what_agrees_may_start(
    monkeypatch: pytest.MonkeyPatch,
    says: dict[str, str],
    count: int,
    nodes: int,
    by: str | None,
    first: bool,
) -> None:
    for name, value in says.items():
        monkeypatch.setenv(name, value)
    check_launch(Devices("cpu", count, count, nodes))
    assert launcher() == by
    assert is_first_process() == first
    assert launched_externally() == (by is not None and says.get("SLURM_NTASKS") != "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "says", "expected"),
    [
        ("trainer.num_nodes=2", {}, "nothing started the processes of the other machines"),
        ("seed=null", {"RANK": "1"}, "RANK=1 says"),
    ],
)
def test_the_command_says_so_once_and_ends(
    small_run: Callable[..., list[str]],
    tmp_path: Path,
    option: str,
    says: dict[str, str],
    expected: str,
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *small_run(option), "hydra.run.dir=run"],
        cwd=tmp_path,
        env={**os.environ, **says},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.ckpt"))
