"""Many devices: real processes, started by each launcher, take the steps of one device."""

import csv
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from real_runs import Run

from bert_lightning.cli import app as cli
from bert_lightning.config import StrategyConfig, StrategyName, TrainConfig
from bert_lightning.optim.ema import TRAINED
from bert_lightning.sizing.devices import Devices
from bert_lightning.training.replay import replay
from bert_lightning.training.strategies import DataParallelStrategy, ShardedStrategy, build_strategy

ROOT = Path(__file__).parents[2]
PYTHON = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
TRAIN, WITHOUT_CUDA = ROOT / "train.py", ROOT / "tests" / "without_cuda.py"
FSDP = ["strategy=fsdp", "trainer.devices=2"]
DOCUMENTED = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def start(command: list[str], run_dir: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, f"hydra.run.dir={run_dir}"],
        cwd=run_dir.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(*processes: subprocess.Popen[str]) -> None:
    """Waits for them; one of them, and only one, speaks for the run."""
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "".join(outputs)
    assert "".join(outputs).count("fill-in     ") == 3


def train(
    run_dir: Path, overrides: list[str], script: Path = WITHOUT_CUDA, **environment: str
) -> Path:
    """Trains with a process for each rank, as one starts them by hand."""
    given = [option.partition("=")[2] for option in overrides if "trainer.devices=" in option]
    count = int(given[-1]) if given else 1
    if count > 1:
        environment |= {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(count),
            "NODE_RANK": "0",
        }  # fmt: skip
    ranks = [{"LOCAL_RANK": str(rank)} if count > 1 else {} for rank in range(count)]
    options = [*overrides, f"hydra.run.dir={run_dir}"]
    runs = [Run(run_dir, *options, script=script, **environment, **rank) for rank in ranks]
    assert [run.end() for run in runs] == [0] * count, "".join(run.stderr for run in runs)
    assert "".join(run.stdout for run in runs).count("fill-in     ") == 3
    return run_dir


def curves(run_dir: Path) -> dict[str, list[float]]:
    """Logged values of losses and gradients by name."""
    with (run_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [
        name for name in rows[0] if name.endswith(("loss", "accuracy", "_norm", "clipped_fraction"))
    ]
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}


def last(run_dir: Path) -> dict[str, Any]:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_state(run: Path, other: Path) -> None:
    """Weights, their average and moments agree but for fp64's rounding, curves for fp32's.

    What is logged is summed in fp32 by each rank, over examples that are shared out by length.
    """
    one, two = last(run), last(other)
    for part in one.keys() & {"state_dict", TRAINED, "optimizer_states"}:
        torch.testing.assert_close(two[part], one[part], rtol=0, atol=1e-9)
    assert curves(other).keys() == curves(run).keys()
    for name, values in curves(run).items():
        assert curves(other)[name] == pytest.approx(values, rel=1e-6, abs=1e-9), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def options(small_run: Callable[..., list[str]]) -> list[str]:
    return small_run(
        "logger=csv", "batch.micro_batch_size=4", "trainer.gradient_clip_val=0.05",
        "trainer.val_check_interval=6", "callbacks.every_n_train_steps=3", "arch=modern",
    )  # fmt: skip


@pytest.fixture(scope="module")
def on_one_device(folder: Path, options: list[str]) -> Path:
    return train(folder / "one", options, DOUBLE="1")


@pytest.fixture(scope="module")
def divided(folder: Path, options: list[str]) -> Path:
    return train(folder / "divided", [*options, *FSDP], DOUBLE="1")


@pytest.mark.slow
def test_a_divided_model_takes_the_steps_of_one_device(on_one_device: Path, divided: Path) -> None:
    assert_same_state(on_one_device, divided)
    norms = curves(on_one_device)["weights/gradient_norm"]
    assert len(norms) == 6
    assert min(norms) > 0.05  # every step was clipped
    assert curves(on_one_device)["weights/clipped_fraction"] == [1] * 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [("on_one_device", FSDP), ("divided", ["strategy=auto", "trainer.devices=1"])],
    ids=["one device, then fsdp", "fsdp, then one device"],
)
def test_a_run_goes_on_under_another_strategy(
    request: pytest.FixtureRequest,
    on_one_device: Path,
    tmp_path: Path,
    options: list[str],
    before: str,
    after: list[str],
) -> None:
    half = tmp_path / "half"
    shutil.copytree(request.getfixturevalue(before), half, symlinks=True)
    for name in ("last.ckpt", "best.ckpt", "step=000006.ckpt", "step=000006.ckpt.json"):
        (half / "checkpoints" / name).unlink()
    train(half, [*options, *after, f"resume={half}"], DOUBLE="1")
    assert_same_state(on_one_device, half)


@pytest.mark.slow
def test_lamb_and_the_average_of_a_divided_model_are_those_of_one_device(
    options: list[str], tmp_path: Path
) -> None:
    # A validation gathers the average, and no save divides it again before the next step.
    more = [*options, "optim=lamb", "optim.warmup_steps=2", "optim.ema_decay=0.5"]
    more += ["trainer.val_check_interval=2", "callbacks.save_top_k=0"]
    one = train(tmp_path / "one", more, DOUBLE="1")
    for strategy in ("fsdp", "ddp"):
        two = [*more, f"strategy={strategy}", "trainer.devices=2"]
        assert_same_state(one, train(tmp_path / strategy, two, DOUBLE="1"))
    half = tmp_path / "fsdp"
    for name in ("last.ckpt", "step=000006.ckpt", "step=000006.ckpt.json"):
        (half / "checkpoints" / name).unlink()
    train(half, [*more, "strategy=auto", "trainer.devices=1", f"resume={half}"], DOUBLE="1")
    assert TRAINED in last(half)
    assert_same_state(one, half)


@pytest.mark.slow
def test_muon_makes_a_divided_matrix_orthogonal_as_a_whole(
    options: list[str], tmp_path: Path
) -> None:
    """It does so in bf16, so the two differ; parts made orthogonal alone would by a third."""
    more = [*options, "optim=muon", "trainer.max_steps=1", "optim.warmup_steps=0"]
    more += ["model.cooccurrence_init=false"]  # gradients of a low rank round more
    one = train(tmp_path / "one", more, DOUBLE="1")
    two = train(tmp_path / "two", [*more, *FSDP], DOUBLE="1")
    assert curves(one)["weights/gradient_norm"] == pytest.approx(
        curves(two)["weights/gradient_norm"]
    )
    ours, theirs = (last(run)["state_dict"] for run in (one, two))
    names = [name for name in ours if re.search(r"blocks.*(weight)$", name) and "norm" not in name]
    assert len(names) >= 8
    lr = last(one)["optimizer_states"][0]["optimizers"][0]["param_groups"][0]["initial_lr"]
    for name in names:
        rows, columns = ours[name].shape
        update = lr * max(1, rows / columns) ** 0.5 * min(rows, columns) ** 0.5
        difference = (ours[name] - theirs[name]).norm().item() / update
        assert difference < 0.1, name


@pytest.mark.slow
def test_a_step_of_a_divided_model_is_replayed_on_one_device(divided: Path) -> None:
    examples = replay(divided, 5).examples
    masked = sum(example.masked for example in examples)
    loss = sum(example.losses["mlm"] * example.masked for example in examples) / masked
    assert loss == pytest.approx(curves(divided)["train/mlm_loss"][4], rel=1e-5)


@pytest.mark.slow
def test_blocks_gathered_in_bf16_compute_what_autocast_does(
    options: list[str], tmp_path: Path
) -> None:
    bf16 = [*options, "trainer.precision=bf16-mixed", "trainer.devices=2"]
    ddp = train(tmp_path / "ddp", [*bf16, "strategy=ddp"])
    fsdp = train(tmp_path / "fsdp", [*bf16, "strategy=fsdp"])
    # Gradients of micro-batches are added up in another order.
    assert curves(fsdp)["train/loss"] == pytest.approx(curves(ddp)["train/loss"], abs=1e-3)
    assert curves(fsdp)["train/loss"][0] == curves(ddp)["train/loss"][0]
    assert last(fsdp)["state_dict"]["model.nsp_head.weight"].dtype is torch.float32


@pytest.fixture(scope="module")
def by_lightning(folder: Path, small_run: Callable[..., list[str]]) -> Path:
    overrides = small_run("logger=csv", "trainer.devices=2")
    end(start([*PYTHON, str(TRAIN), *overrides], folder / "lightning"))
    return folder / "lightning"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "torchrun on two nodes", "SLURM", "by hand"])
def test_launchers_start_the_same_run(
    small_run: Callable[..., list[str]], by_lightning: Path, tmp_path: Path, launcher: str
) -> None:
    overrides, run_dir, port = small_run("logger=csv"), tmp_path / "run", free_port()
    two_nodes = [str(TRAIN), *overrides, "trainer.num_nodes=2", "trainer.devices=1"]
    if launcher == "torchrun":
        alone = ["--standalone", "--nproc_per_node=2", str(TRAIN), *overrides, "trainer.devices=2"]
        end(start([*TORCHRUN, *alone], run_dir))
    elif launcher == "SLURM":
        job = {
            "SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "bert", "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2", "SLURM_NODELIST": "127.0.0.1",
            "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0", "MASTER_PORT": port,
        }  # fmt: skip
        tasks = [{**job, "SLURM_PROCID": rank, "SLURM_NODEID": rank} for rank in "01"]
        end(*[start([*PYTHON, *two_nodes], run_dir, **task) for task in tasks])
    elif launcher == "by hand":
        known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
        nodes = [{**known, "NODE_RANK": rank} for rank in "01"]
        end(*[start([*PYTHON, *two_nodes], run_dir, **node) for node in nodes])
    else:
        where = ["--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1"]
        where.append(f"--master_port={port}")
        nodes = [[*where, f"--node_rank={rank}", *two_nodes] for rank in range(2)]
        end(*[start([*TORCHRUN, *node], run_dir) for node in nodes])
    assert curves(run_dir) == curves(by_lightning)
    assert len(curves(run_dir)["train/loss"]) == 6


@pytest.mark.slow
def test_losses_of_one_two_and_four_processes_agree_over_fifty_steps(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    overrides = small_run(
        "logger=csv", "trainer.max_steps=50", "trainer.val_check_interval=50",
        "trainer.enable_checkpointing=false",
    )  # fmt: skip
    losses = {}
    for count in (1, 2, 4):
        run_dir = tmp_path / str(count)
        train(run_dir, [*overrides, f"trainer.devices={count}"], TRAIN)
        losses[count] = curves(run_dir)["train/loss"]
        assert len(losses[count]) == 50
    assert losses[1][-1] < losses[1][0] - 0.1
    for count in (2, 4):
        assert losses[count] == pytest.approx(losses[1], rel=0, abs=1e-5)


def test_the_documented_commands_are_right() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", DOCUMENTED, re.DOTALL)
    commands = [
        shlex.split(line.partition("train.py")[2])
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
        if "train.py" in line and "train.py -m" not in line  # a sweep composes each trial
    ]
    assert len(commands) == 3
    for overrides in commands:
        own = [override for override in overrides if not override.startswith("hydra.")]
        trainer = cli.compose(ROOT / "conf", ["run_dir=.", *own]).trainer
        assert (trainer.num_nodes, trainer.devices) in {
            (1, 2),
            (4, 8),
            (1, "auto"),
        }  # Ray's workers


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("auto", 2, DataParallelStrategy),
        ("ddp", 1, DataParallelStrategy),
        ("fsdp", 2, ShardedStrategy),
    ],
)
def test_strategies_by_name(name: str, count: int, expected: type) -> None:
    config = TrainConfig(strategy=StrategyConfig(StrategyName[name]))
    assert type(build_strategy(config, Devices("cpu", count, count, 1))) is expected


def test_one_device_needs_no_strategy() -> None:
    assert build_strategy(TrainConfig(), Devices("cpu", 1, 1, 1)) == "auto"
