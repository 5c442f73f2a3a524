"""What `scripts/plan.py` prints, and that its example in the README is what it says."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bert_lightning.config import (
    BatchConfig,
    ModelConfig,
    OptimConfig,
    OptimizerName,
    PhaseConfig,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.reports.plan_report import findings, show_plan
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
def test_the_readmes_example_is_what_the_script_prints() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- plan:begin -->\n```text\n(.*?)```", readme, re.DOTALL)
    done = run("model=large", "batch.max_length=512", "--memory", "16")
    assert done.returncode == 0, done.stderr
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert shown.splitlines() == printed, "put the output of the command into README.md again"


def test_json_holds_the_same_plan(capsys: pytest.CaptureFixture[str]) -> None:
    options = PlanOptions(memory=16)
    show_plan(large(), options, as_json=True)
    written, made = json.loads(capsys.readouterr().out), plan(large(), options)
    assert written["parameters"]["total"] == made.parameters.total == 336_226_108
    assert written["training_flops"]["total"] == made.training_flops.total
    assert written["memory"]["state"] == made.memory.state
    assert written["largest_micro_batch"] == made.largest_micro_batch == 5
    assert written["findings"] == findings(made)


@pytest.mark.parametrize(
    ("config", "memory", "expected"),
    [
        (large(), 16, "It fits: the same step in 128 micro-batches of 4"),
        (large(512), 2000, "It fits: a micro-batch of all 512 sequences of a device"),
        (large(512), 80, "It does not fit: micro-batches of 512 take"),
        (large(512), 80, "A smaller batch.micro_batch_size helps"),
        (large(), 7, "It does not fit: even one sequence at a time takes"),
        (large(), 7, "With any of these it fits: batch.max_length=256; model.activation"),
        (large(), 4, "no shorter length helps. With any of these it fits: strategy=fsdp"),
        (large(), 0.5, "None of the options above is enough"),
        (large(), 16, "the attention weights, grows with the square of the length"),
    ],
)
def test_it_says_what_fits_and_what_would_help(
    config: TrainConfig, memory: float, expected: str
) -> None:
    assert expected in " ".join(findings(plan(config, PlanOptions(memory=memory))))


def test_it_says_which_phase_needs_most_and_how_long_each_is() -> None:
    config = large()
    config.batch = replace(config.batch, phases=[PhaseConfig(0.9, 128), PhaseConfig(0.1)])
    said = " ".join(findings(plan(config, PlanOptions(memory=16))))
    assert "Phase 2 of 2 needs most memory, with 512 sequences of up to 512 tokens a step" in said
    assert (
        "900 steps of 512 sequences of up to 128 tokens and then 100 steps of 512 sequences of up "
        "to 512 tokens, 8.52e+07 real tokens"
    ) in said


def test_a_mistake_in_an_option_is_one_message() -> None:
    done = run("model=large", "batch.max_length=1024")
    assert done.returncode == 2
    assert done.stderr.startswith("error: batch.max_length=1024 is more than")
    assert not done.stdout
