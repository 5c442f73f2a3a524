"""What a run computes follows from its options alone: not from when, where or how it is divided."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from left_behind import assert_same, checkpoint, state
from real_runs import TRACED, Run, trace

from bert_lightning.config import TrainConfig
from bert_lightning.runs.seed import with_seed
from bert_lightning.training.fit import fit
from bert_lightning.training.module import PretrainingModule

Start = Callable[..., Run]
Overrides = Callable[..., list[str]]
Config = Callable[..., TrainConfig]
DROPOUT = ("model.hidden_dropout_prob=0.2", "model.attention_probs_dropout_prob=0.2")


def global_batches(entries: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Each step's examples with their masks, put together from all devices and micro-batches.

    Sorted: several devices share them out by their lengths, not in their order.
    """
    batches: dict[int, list[str]] = {}
    for entry in entries:
        batches.setdefault(entry["step"], []).extend(entry["examples"])
    return {step: sorted(examples) for step, examples in batches.items()}


def stop_at(step: int, rank: int = 0) -> dict[str, str]:
    return {"ACT": json.dumps({"do": "stop", "rank": rank, "step": step})}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "workers"), [("32-true", (0, 0, 2, 4)), ("bf16-mixed", (0, 2))]
)
def test_the_same_run_has_the_same_bits_with_any_number_of_workers(
    start: Start, small_run: Overrides, tmp_path: Path, precision: str, workers: tuple[int, ...]
) -> None:
    options = small_run(
        *DROPOUT, f"trainer.precision={precision}", "trainer.accumulate_grad_batches=2",
        "trainer.max_steps=20",
    )  # fmt: skip
    runs = []
    for number, count in enumerate(workers):
        folder = tmp_path / str(number)
        more = [f"batch.num_workers={count}", f"hydra.run.dir={folder}"]
        runs.append(start(folder, *options, *more, script=TRACED))
    for run in runs:
        assert run.end() == 0, run.stderr
    first, *others = runs
    assert len(first.trace()) == 40
    for other in others:
        assert_same(state(checkpoint(other.folder, 20)), state(checkpoint(first.folder, 20)))
        for seen, expected in zip(other.trace(), first.trace(), strict=True):
            assert {**seen, "time": 0} == {**expected, "time": 0}


@pytest.mark.slow
def test_one_device_then_two_then_one_see_what_one_would(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    steps, folder, whole = 15, tmp_path / "run", tmp_path / "whole"
    options = small_run(
        f"trainer.max_steps={steps}", "trainer.val_check_interval=4", "batch.micro_batch_size=4"
    )
    other = start(whole, *options, f"hydra.run.dir={whole}", script=TRACED)
    parts = [
        ([*options, f"hydra.run.dir={folder}"], stop_at(4), 143),
        ([f"resume={folder}", "trainer.devices=2"], stop_at(9, rank=1), 143),
        ([f"resume={folder}", "trainer.devices=1"], {}, 0),
    ]
    for arguments, act, code in parts:
        run = start(folder, *arguments, script=TRACED, **act)
        assert run.end() == code, run.stderr
    assert other.end() == 0
    assert [(entry["step"], entry["world_size"]) for entry in run.trace()] == [
        (step, 2 if 4 < step < 10 else 1) for step in range(1, steps + 1) for _ in range(8)
    ]
    assert global_batches(run.trace()) == global_batches(other.trace())
    ours, theirs = (
        torch.load(checkpoint(path, steps), weights_only=True)["bert_lightning"]["progress"]
        for path in (folder, whole)
    )
    for name, (at, losses) in theirs["curves"].items():
        if "loss" in name:
            assert torch.equal(ours["curves"][name][0], at)
            torch.testing.assert_close(ours["curves"][name][1], losses, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_a_seed_that_is_drawn_is_one_for_all_devices_and_stays(
    start: Start, small_run: Overrides, tmp_path: Path
) -> None:
    folder, given = tmp_path / "run", tmp_path / "given"
    options = small_run(*DROPOUT, "trainer.devices=2")
    run = start(
        folder, *options, "seed=null", f"hydra.run.dir={folder}", script=TRACED, **stop_at(2)
    )
    assert run.end() == 143
    seed = json.loads((folder / "run.json").read_text())["seed"]
    about = torch.load(checkpoint(folder, 2), weights_only=True)["bert_lightning"]
    assert about["config"]["seed"] == seed
    assert f"; seed {seed}\n" in run.stdout
    assert {entry["seed"] for entry in run.trace()} == {seed}
    for rank_0, rank_1 in zip(run.trace()[::2], run.trace()[1::2], strict=True):
        assert rank_0["weights"] == rank_1["weights"]
        assert set(rank_0["examples"]).isdisjoint(rank_1["examples"])

    run = start(folder, f"resume={folder}", "seed=null", script=TRACED)
    other = start(given, *options, f"seed={seed}", f"hydra.run.dir={given}", script=TRACED)
    assert run.end() == 0
    assert other.end() == 0
    assert global_batches(run.trace()) == global_batches(trace(given))
    assert_same(state(checkpoint(folder, 6)), state(checkpoint(given, 6)))


def test_each_run_draws_a_seed_of_its_own(small_config: Config, tmp_path: Path) -> None:
    config = small_config(tmp_path, "seed=null")
    assert with_seed(config, None).seed != with_seed(config, None).seed


def first_draw(seed: int, step: int, micro_batch: int, rank: int) -> float:
    """The first random number of dropout in a micro-batch of a run with three of them a step."""
    module: Any = SimpleNamespace(
        config=SimpleNamespace(drawn_seed=seed),
        device=torch.device("cpu"),
        trainer=SimpleNamespace(accumulate_grad_batches=3),
        global_step=step,
        global_rank=rank,
    )
    batch: Any = None
    PretrainingModule.on_train_batch_start(module, batch, 3 * step + micro_batch)
    return torch.rand((), dtype=torch.float64).item()


def test_every_micro_batch_of_every_step_and_rank_has_dropout_masks_of_its_own() -> None:
    places = list(product((0, 1), range(3), range(3), range(2)))
    drawn = [first_draw(*place) for place in places]
    assert len(set(drawn)) == len(places)
    assert [first_draw(*place) for place in places] == drawn


GOLDEN = Path(__file__).parent / "golden" / "losses.json"
GOLDEN_OPTIONS = (
    "trainer.max_steps=50",
    "trainer.val_check_interval=25",
    "model.hidden_dropout_prob=0.1",
    "model.attention_probs_dropout_prob=0.1",
    "optim.lr=3e-3",
    "optim.weight_decay=0.1",
    "optim.warmup_steps=5",
)
TOLERANCE = 1e-4
"""Relative. Two threads, and the instructions of older processors, made at most 3e-7 of it."""


def losses(config: TrainConfig) -> dict[str, list[float]]:
    return {
        name: [round(value, 7) for _, value in curve]
        for name, curve in fit(config).curves.items()
        if name.endswith("_loss")
    }


def deviation(found: dict[str, list[float]]) -> float:
    """The largest relative deviation from the curves that were committed."""
    expected = json.loads(GOLDEN.read_text())
    assert {name: len(curve) for name, curve in found.items()} == {
        name: len(curve) for name, curve in expected.items()
    }
    return max(
        abs(value / other - 1)
        for name in expected
        for value, other in zip(found[name], expected[name], strict=True)
    )


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_losses_are_those_that_were_committed(
    small_config: Config, tmp_path: Path, request: pytest.FixtureRequest, threads: int
) -> None:
    # python -m pytest tests/training/test_determinism.py -k committed --record-golden
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = losses(small_config(tmp_path, *GOLDEN_OPTIONS))
    finally:
        torch.set_num_threads(before)
    if threads == 1 and request.config.getoption("record_golden"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert deviation(found) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        ["optim.lr=3.03e-3"],  # deviates by 2e-3
        ["optim.weight_decay=0"],  # 8e-4
        ["optim.warmup_steps=6"],  # 8e-3
        ["optim.beta2=0.99"],  # 1e-3
        ["model.hidden_dropout_prob=0.11"],  # 6e-3
        ["objective.nsp_weight=0.9"],  # 3e-4
        ["batch.masking.mask_replace_prob=0.79", "batch.masking.random_replace_prob=0.11"],  # 7e-3
    ],
    ids=" ".join,
)
def test_a_small_change_is_seen_in_the_losses(
    small_config: Config, tmp_path: Path, change: list[str]
) -> None:
    found = losses(small_config(tmp_path, *GOLDEN_OPTIONS, *change))
    assert deviation(found) > 2 * TOLERANCE
