"""The devices of a run, and the division of its global batch; GPUs are simulated."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bert_lightning.config import (
    BatchConfig,
    OptimConfig,
    OptimizerName,
    PhaseConfig,
    StrategyConfig,
    StrategyName,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.data.phases import phase_options
from bert_lightning.errors import UserError
from bert_lightning.sizing import micro_batches
from bert_lightning.sizing.devices import (
    Devices,
    find_devices,
    with_precision,
)
from bert_lightning.sizing.memory import memory
from bert_lightning.sizing.micro_batches import divide_global_batch

VOCAB = 30_522


def config(devices: Any = "auto", **options: Any) -> TrainConfig:
    return TrainConfig(
        batch=BatchConfig(global_batch_size=512),
        optim=OptimConfig(OptimizerName.adamw),
        trainer=TrainerConfig(**{"devices": devices, "precision": "32-true", **options}),
    )


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("found", "asked", "accelerator", "count"),
    [
        (0, "auto", "cpu", 1),
        (0, -1, "cpu", 1),
        (0, 2, "cpu", 2),
        (0, "4", "cpu", 4),
        (4, "auto", "gpu", 4),
        (4, -1, "gpu", 4),
        (4, 2, "gpu", 2),
        (4, [1, 3], "gpu", 2),
        (4, "0,2,3", "gpu", 3),
    ],
)
def test_gpus_where_there_are_any_cpu_processes_otherwise(
    monkeypatch: pytest.MonkeyPatch, found: int, asked: Any, accelerator: str, count: int
) -> None:
    gpus(monkeypatch, found)
    devices = find_devices(config(asked))
    assert (devices.accelerator, devices.count) == (accelerator, count)


@pytest.mark.parametrize("asked", [3, [0, 2], "0,2"])
def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch, asked: Any) -> None:
    gpus(monkeypatch, 2)
    with pytest.raises(UserError, match="more GPUs than the 2 that torch finds"):
        find_devices(config(asked))


@pytest.mark.parametrize(
    ("accelerator", "capable", "expected"),
    [
        ("cpu", {"avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ("cpu", {"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ("cpu", {"avx2": True}, "32-true"),
        ("mps", {"avx512_bf16": True}, "32-true"),
        ("gpu", {}, "bf16-mixed"),
    ],
)
def test_the_precision_follows_what_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, capable: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerator == "gpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _: True)
    chosen = with_precision(config(precision="auto"), accelerator)
    assert chosen.trainer.precision == expected
    assert with_precision(config(precision="64-true"), accelerator).trainer.precision == "64-true"


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize("asked", ["auto", 1, -1, 2])
def test_an_apple_gpu_is_used_only_when_it_is_asked_for(
    asked: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert find_devices(config(asked)).accelerator == "cpu"
    assert "trainer.accelerator=mps tries the GPU" in caplog.text
    caplog.clear()
    chosen = find_devices(config("auto", accelerator="mps"))
    assert (chosen.accelerator, chosen.count, chosen.on_gpu) == ("mps", 1, False)
    assert not caplog.messages


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize(
    ("asked", "options", "expected"),
    [
        (2, {}, "asks for 2 Apple GPUs, but a machine has one"),
        ("auto", {"precision": "64-true"}, "no 64-bit numbers: use trainer.precision=32-true"),
    ],
)
def test_what_an_apple_gpu_lacks(asked: Any, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        find_devices(config(asked, accelerator="mps", **options))


def test_an_apple_gpu_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    with pytest.raises(UserError, match=r"mps asks for an Apple GPU, but torch .* finds none"):
        find_devices(config(accelerator="mps"))


@pytest.mark.usefixtures("apple")
def test_what_runs_elsewhere_than_asked_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    find_devices(config(accelerator="mps"))
    assert "what the Apple GPU lacks runs on the CPU" in caplog.text


def test_nodes_multiply() -> None:
    devices = find_devices(config(2, accelerator="cpu", num_nodes=3))
    assert devices.world_size == 6


def divided(name: str, **options: Any) -> TrainConfig:
    return replace(config(2, **options), strategy=StrategyConfig(StrategyName[name]))


def test_dividing_a_model_on_cpu_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    with pytest.raises(UserError, match=r"strategy=fsdp .* CUDA GPUs"):
        find_devices(divided("fsdp"))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("fsdp", {"precision": "64-true"}, "precision=64-true does not work with strategy=fsdp"),
        ("fsdp", {"precision": "16-mixed"}, "precision=16-mixed .* 32-true, bf16-mixed"),
    ],
)
def test_what_goes_with_no_divided_model(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], expected: str
) -> None:
    gpus(monkeypatch, 2)
    with pytest.raises(UserError, match=expected):
        find_devices(divided(name, **options))
    assert (
        find_devices(divided("fsdp", gradient_clip_algorithm="value", gradient_clip_val=1.0)).count
        == 2
    )


@pytest.mark.parametrize(
    ("total", "world", "micro", "accumulation", "expected"),
    [
        (512, 1, 512, None, (512, 1)),
        (512, 2, 64, None, (64, 4)),
        (512, 2, None, 4, (64, 4)),
        (512, 4, 32, 4, (32, 4)),
        (12, 3, None, None, (4, 1)),
    ],
)
def test_sizes_follow_from_each_other(
    total: int, world: int, micro: int | None, accumulation: int | None, expected: tuple[int, int]
) -> None:
    wanted = config(world, accelerator="cpu", accumulate_grad_batches=accumulation)
    wanted.batch.global_batch_size, wanted.batch.micro_batch_size = total, micro
    partition = divide_global_batch(wanted, Devices("cpu", world, world, 1), VOCAB)
    assert (
        partition.micro_batch_size(wanted.batch.global_batch_size),
        partition.accumulation,
    ) == expected


@pytest.mark.parametrize(
    ("world", "micro", "accumulation", "nearest"),
    [
        (3, None, None, ["510", "513"]),
        (1, 100, None, ["500", "600"]),
        (2, 100, 2, ["400"]),
        (1, 1024, None, ["1024"]),
    ],
)
def test_sizes_that_do_not_multiply_name_the_nearest(
    world: int, micro: int | None, accumulation: int | None, nearest: list[str]
) -> None:
    wanted = config(world, accelerator="cpu", accumulate_grad_batches=accumulation)
    wanted.batch.micro_batch_size = micro
    with pytest.raises(UserError, match=r"batch\.global_batch_size=512") as error:
        divide_global_batch(wanted, Devices("cpu", world, world, 1), VOCAB)
    for size in nearest:
        assert f"batch.global_batch_size={size}" in str(error.value)


@pytest.mark.parametrize(
    ("room_for", "expected"), [(100.5, (64, 8)), (512, (512, 1)), (1, (1, 512)), (0.5, (1, 512))]
)
def test_a_micro_batch_is_chosen_that_fits(
    monkeypatch: pytest.MonkeyPatch, room_for: float, expected: tuple[int, int]
) -> None:
    wanted, one = config(1, accelerator="cpu"), Devices("cpu", 1, 1, 1)
    needs = memory(wanted, VOCAB, 1, on_gpu=False)
    room = needs.fixed + needs.mlm_head + room_for * needs.sequence.total
    monkeypatch.setattr("bert_lightning.sizing.micro_batches._available", lambda _: room)
    partition = divide_global_batch(wanted, one, VOCAB)
    assert (
        partition.micro_batch_size(wanted.batch.global_batch_size),
        partition.accumulation,
    ) == expected
    assert divide_global_batch(wanted, one, VOCAB, available=room) == partition


def test_the_hosts_available_memory_is_divided_among_its_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = SimpleNamespace(available=2e9)
    monkeypatch.setattr(micro_batches.psutil, "virtual_memory", lambda: free)
    wanted = config(2, accelerator="cpu")
    devices = Devices("cpu", 2, 2, 1)
    asked = divide_global_batch(wanted, devices, VOCAB)
    assert asked == divide_global_batch(wanted, devices, VOCAB, available=5e8)
    assert asked != divide_global_batch(wanted, devices, VOCAB, available=2e9)


RAMP = [PhaseConfig(0.5, global_batch_size=48), PhaseConfig(0.5)]
LENGTHS = [PhaseConfig(0.9, max_length=32), PhaseConfig(0.1)]


@pytest.mark.parametrize(
    ("phases", "world", "micro", "accumulation", "expected"),
    [
        (RAMP, 1, 32, None, [12, 32]),  # of 128, the most tokens
        (RAMP, 2, None, 4, [6, 16]),
        (RAMP, 2, 16, 4, [6, 16]),
        (LENGTHS, 1, 32, None, [32, 32]),
        ([PhaseConfig(0.5, 32, 1024), PhaseConfig(0.5)], 1, 256, None, [256, 32]),
    ],
)
def test_every_phase_has_the_same_number_of_micro_batches(
    phases: list[PhaseConfig],
    world: int,
    micro: int | None,
    accumulation: int | None,
    expected: list[int],
) -> None:
    wanted = config(world, accelerator="cpu", accumulate_grad_batches=accumulation)
    wanted.batch = BatchConfig(
        global_batch_size=128, micro_batch_size=micro, phases=phases, max_length=128
    )
    partition = divide_global_batch(wanted, Devices("cpu", world, world, 1), VOCAB)
    sizes = [options.global_batch_size for options in phase_options(wanted.batch)]
    assert [partition.micro_batch_size(size) for size in sizes] == expected
    for size, each in zip(sizes, expected, strict=True):
        assert each * world * partition.accumulation == size


@pytest.mark.parametrize(
    ("phases", "world", "micro", "accumulation", "says"),
    [
        (
            [PhaseConfig(0.5, global_batch_size=50), PhaseConfig(0.5)],
            *(1, 32, None),
            r"batch\.phases\[0\]\.global_batch_size=50 is not a multiple of 1 device × "
            r"4 micro-batches \(4 pairs\); nearest: .*\]\.global_batch_size=48 or .*=52",
        ),
        (
            RAMP,
            *(5, None, None),
            r"batch\.phases\[0\]\.global_batch_size=48 is not a multiple of 5 devices",
        ),
        (
            RAMP,
            *(1, None, 32),
            r"phases\[0\]\.global_batch_size=48 .*accumulate_grad_batches=32 .*=32 or .*=64",
        ),
        (
            RAMP,
            *(1, 30, None),
            r"batch\.global_batch_size=128 is not a multiple of 1 device × batch\.micro_batch",
        ),
        (RAMP, 1, 32, 2, r"batch\.global_batch_size=128 is not 1 device .*nearest: .*=64$"),
    ],
)
def test_a_phase_that_does_not_divide_is_named_with_the_nearest_that_would(
    phases: list[PhaseConfig], world: int, micro: int | None, accumulation: int | None, says: str
) -> None:
    wanted = config(world, accelerator="cpu", accumulate_grad_batches=accumulation)
    wanted.batch = BatchConfig(global_batch_size=128, micro_batch_size=micro, phases=phases)
    with pytest.raises(UserError, match=says):
        divide_global_batch(wanted, Devices("cpu", world, world, 1), VOCAB)


@pytest.mark.parametrize(
    ("room_for", "fits"), [(0.5, False), (1, False), (20, True), (100, True), (1000, True)]
)
def test_the_fewest_micro_batches_are_chosen_with_which_every_phase_fits(
    room_for: float, fits: bool
) -> None:
    wanted, one = config(1, accelerator="cpu"), Devices("cpu", 1, 1, 1)
    phases = [PhaseConfig(0.5, 32, 480), PhaseConfig(0.3, 128, 96), PhaseConfig(0.2, 512, 144)]
    wanted.batch = BatchConfig(max_length=512, global_batch_size=512, phases=phases)
    needs = [
        memory(replace(wanted, batch=options), VOCAB, 1, on_gpu=False)
        for options in phase_options(wanted.batch)
    ]
    room = needs[1].fixed + needs[1].mlm_head + room_for * needs[1].sequence.total
    found = divide_global_batch(wanted, one, VOCAB, available=room).accumulation
    fitting = [
        count
        for count in range(1, 97)
        if all(phase.global_batch_size % count == 0 for phase in phases)
        and all(
            phase.global_batch_size // count <= need.largest_micro_batch(room)
            for phase, need in zip(phases, needs, strict=True)
        )
    ]
    assert found == min(fitting, default=48)  # no more than 48 divides all of them
    assert bool(fitting) == fits
