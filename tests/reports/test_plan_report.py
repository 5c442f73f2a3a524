"""The output of `scripts/plan.py`, and the example of it in docs/plan.md."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from bert_lightning.config import (
    BatchConfig,
    ModelConfig,
    OptimConfig,
    OptimizerName,
    PhaseConfig,
    StrategyConfig,
    StrategyName,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.reports.plan_report import show_plan, verdict
from bert_lightning.sizing import machine
from bert_lightning.sizing.plan import PlanOptions, plan

ROOT = Path(__file__).parents[2]
LARGE = ModelConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)


def large(micro: int | None = None) -> TrainConfig:
    return TrainConfig(
        batch=BatchConfig(max_length=512, global_batch_size=512, micro_batch_size=micro),
        model=LARGE,
        optim=OptimConfig(OptimizerName.adamw),
        trainer=TrainerConfig(precision="32-true", max_steps=1000),
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "plan.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )


@pytest.mark.slow
def test_the_example_of_the_docs_is_what_the_script_prints() -> None:
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- plan:begin -->\n```text\n(.*?)```", page, re.DOTALL)
    done = run("model=large", "batch.max_length=512", "--memory", "16")
    assert done.returncode == 0, done.stderr
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert shown.splitlines() == printed, "put the output of the command into docs/plan.md again"


def test_json_holds_the_same_plan(capsys: pytest.CaptureFixture[str]) -> None:
    options = PlanOptions(memory=16)
    show_plan(large(), options, as_json=True)
    written, made = json.loads(capsys.readouterr().out), plan(large(), options)
    assert written["parameters"]["total"] == made.parameters.total == 336_226_108
    assert written["training_flops"]["total"] == made.training_flops.total
    assert written["memory"]["fixed"] == made.memory.fixed
    assert written["largest_micro_batch"] == made.largest_micro_batch == 5
    assert written["verdict"] == verdict(made)


def test_a_plan_that_describes_no_device_says_how_long_this_machine_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "matrix_tflops", lambda *_: 0.2)
    small = replace(large(), model=ModelConfig(), batch=BatchConfig(global_batch_size=8))
    show_plan(small, PlanOptions(), as_json=True)
    written = json.loads(capsys.readouterr().out)
    assumed = plan(small, PlanOptions())
    assert written["here"]["hours"] == pytest.approx(assumed.hours * assumed.tflops / 0.1)
    assert written["here"]["precision"] == "32-true"
    assert (
        "50% of the 0.2 TFLOP/s that its matrix products reach in 32-true"
        in (written["verdict"][-1])
    )
    assert " 0.0 " not in " ".join(written["verdict"])
    for described in (PlanOptions(memory=16), PlanOptions(tflops=100)):
        show_plan(small, described, as_json=True)
        assert json.loads(capsys.readouterr().out)["here"] is None
    eight = replace(small, trainer=replace(small.trainer, devices=8))
    show_plan(eight, PlanOptions(), as_json=True)
    assert json.loads(capsys.readouterr().out)["here"] is None


@pytest.mark.slow
def test_a_cpu_is_planned_with_the_memory_and_the_rate_of_this_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "matrix_tflops", lambda *_: 0.2)
    on_cpu = replace(large(), trainer=replace(large().trainer, accelerator="cpu"))
    show_plan(on_cpu, PlanOptions(), as_json=True)
    written = json.loads(capsys.readouterr().out)
    assert written["tflops"] == 0.1
    assert written["device_memory"] == psutil.virtual_memory().total
    assert written["verdict"][-1].startswith("Of this machine are the memory and the rate")
    show_plan(on_cpu, PlanOptions(memory=9, tflops=3), as_json=True)
    written = json.loads(capsys.readouterr().out)
    assert (written["tflops"], "this machine" in str(written["verdict"])) == (3, False)


@pytest.mark.parametrize(
    ("hours", "shown"), [(26.04, "26.0 hours"), (0.5, "30.0 minutes"), (1e-3, "3.6 seconds")]
)
def test_a_duration_is_told_in_a_unit_in_which_it_is_not_0(hours: float, shown: str) -> None:
    assert shown in verdict(replace(plan(large(), PlanOptions()), hours=hours))[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_of_matrix_products_is_that_of_a_product(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(machine._ROWS, "cpu", 256)
    clock = iter([0.0, 2.0, 2.0, 2.5])  # a product of 2 s, over the limit, is not repeated
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.matrix_tflops(torch.device("cpu"), dtype) == 2 * 256**3 / 2.0 / 1e12


def said(config: TrainConfig, memory: float) -> str:
    return " ".join(verdict(plan(config, PlanOptions(memory=memory))))


@pytest.mark.parametrize(
    ("config", "memory", "expected"),
    [
        (large(), 16, "It fits: a step of 128 micro-batches of 4 needs 11.6 GiB, and 14.4 GiB may"),
        (large(), 16, "the largest micro-batch that fits is 5."),
        (large(512), 2000, "It fits: a step of one micro-batch of 512 needs"),
        (large(512), 80, "It does not fit: a step of one micro-batch of 512 needs"),
        (large(512), 80, "Lower batch.micro_batch_size, or omit it"),
        (large(), 7, "It does not fit: one sequence needs"),
    ],
)
def test_it_says_whether_it_fits_and_why(config: TrainConfig, memory: float, expected: str) -> None:
    assert expected in said(config, memory)


@pytest.mark.slow
def test_what_it_advises_needs_less_memory() -> None:
    config = large()
    precision, checkpointing, fsdp = (
        "trainer.precision=bf16-mixed",
        "model.activation_checkpointing=true",
        "strategy=fsdp with more trainer.devices",
    )
    saving = {
        precision: replace(config, trainer=replace(config.trainer, precision="bf16-mixed")),
        checkpointing: replace(config, model=replace(LARGE, activation_checkpointing=True)),
        fsdp: replace(
            config,
            trainer=replace(config.trainer, devices=8),
            strategy=StrategyConfig(StrategyName.fsdp),
        ),
        "a smaller batch.max_length": replace(config, batch=replace(config.batch, max_length=256)),
    }
    before = plan(config, PlanOptions(memory=7)).memory.peak(1)
    for advice, changed in saving.items():
        assert advice in said(config, 7)
        assert plan(changed, PlanOptions(memory=7)).memory.peak(1) < before, advice
    assert "max_length" not in said(config, 4)  # the weights alone are too much
    assert precision not in said(saving[precision], 0.5)
    assert checkpointing not in said(saving[checkpointing], 0.5)


def test_it_says_which_phase_needs_most_and_how_long_each_is() -> None:
    config = large()
    config.batch = replace(config.batch, phases=[PhaseConfig(0.9, 128), PhaseConfig(0.1)])
    sentences = said(config, 16)
    assert (
        "Phase 2 of 2 needs most memory, with 512 sequences of up to 512 tokens a step" in sentences
    )
    assert (
        "900 steps of 512 sequences of up to 128 tokens, then 100 steps of 512 sequences of up to "
        "512 tokens, 8.52e+07 real tokens"
    ) in sentences


def test_a_mistake_in_an_option_is_one_message() -> None:
    done = run("model=large", "batch.max_length=1024")
    assert done.returncode == 2
    assert done.stderr.startswith("error: batch.max_length=1024 is more than")
    assert not done.stdout
