"""Real processes over gloo: two devices compute what one does."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch

from bert_lightning.cli import app as cli
from bert_lightning.training.module import PretrainingModule

ROOT = Path(__file__).parents[2]


def train(run_dir: Path, overrides: list[str]) -> dict[str, Any]:
    script = ROOT / "train.py"
    done = forked.run(script, *overrides, f"hydra.run.dir={run_dir}", cwd=run_dir.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    # one process speaks for the run
    assert done.stdout.count("speed  ") == 1
    return json.loads((run_dir / "summary.json").read_text())


def weights(run_dir: Path) -> torch.Tensor:
    state = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for value in state.values()])


@pytest.mark.slow
@pytest.mark.parametrize(("accumulation", "more"), [(1, []), (4, ["objective.sampled_words=20"])])
def test_two_devices_agree_with_one_on_the_same_global_batch(
    small_run: Callable[..., list[str]], tmp_path: Path, accumulation: int, more: list[str]
) -> None:
    # In fp64, since Adam divides a gradient near 0 by its own size, and fp32's noise with it.
    exact = "trainer.precision=64-true"
    one = train(tmp_path / "one", small_run(exact, *more))
    devices = ("trainer.devices=2", f"trainer.accumulate_grad_batches={accumulation}")
    two = train(tmp_path / "two", small_run(exact, *more, *devices))
    assert (one["devices"], two["devices"]) == (1, 2)
    assert two["micro_batch_size"] == 16 // accumulation
    assert (two["pairs"], two["real_tokens"]) == (one["pairs"], one["real_tokens"])
    for split in ("train", "validation"):
        for name, value in one[split].items():
            assert two[split][name] == pytest.approx(value, rel=1e-5, abs=1e-6), (split, name)
    torch.testing.assert_close(
        weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-6, atol=1e-8
    )


@pytest.mark.slow
def test_two_devices_with_four_micro_batches_of_four_have_the_gradient_of_one_batch(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    # With so large an eps, Adam's first update is the gradient times a constant; sentences of one
    # to eighty words differ in length as much as any.
    rng = random.Random(0)
    words = ["crane", "driver", "river", "bridge", "lamp", "garden", "letter", "engine"]
    sentences = [
        " ".join(rng.choices(words, k=rng.randint(1, 80))).capitalize() + "." for _ in range(400)
    ]
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(" ".join(sentences[i : i + 4]) for i in range(0, 400, 4)))
    options = small_run(
        f"data.path={text}", "trainer.precision=64-true", "trainer.max_steps=1", "optim.eps=1e6",
        "optim.weight_decay=0", "optim.lr=1e6", "optim.schedule=constant",
    )  # fmt: skip
    train(tmp_path / "one", options)
    divided = ["trainer.devices=2", "batch.micro_batch_size=4"]
    assert train(tmp_path / "two", [*options, *divided])["micro_batch_size"] == 4
    config = cli.compose(ROOT / "conf", ["run_dir=.", *options])
    last = torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)
    initial = PretrainingModule(config, last["bert_lightning"]["vocab_size"], 1, [1], {}).double()
    start = torch.cat([value.flatten() for value in initial.state_dict().values()])
    one, two = (weights(tmp_path / name) - start for name in ("one", "two"))
    assert one.norm() > 0.01
    assert ((two - one).norm() / one.norm()).item() < 1e-6


@pytest.mark.slow
def test_a_mistake_is_said_once_and_ends_all_processes(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    overrides = small_run("trainer.devices=2", "trainer.precision=64-mixed")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *overrides, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert "trainer.precision=64-mixed" in done.stderr
