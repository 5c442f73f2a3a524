"""A run in Ray's workers is the run of as many processes here, whatever becomes of them."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from left_behind import assert_same, state
from real_runs import Run

from bert_lightning.pretrained.checkpoints import checkpoints_by_step, step_of

pytest.importorskip("ray", reason="launcher=ray needs the extra ray")
resource = pytest.importorskip("resource")


@pytest.mark.slow
def test_a_killed_and_a_stopped_worker_change_nothing(
    small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    steps = 240

    def options(folder: Path, *more: str) -> list[str]:
        return small_run(
            f"hydra.run.dir={folder}", f"trainer.max_steps={steps}",
            "callbacks.every_n_train_steps=10", "trainer.val_check_interval=100",
            "model.hidden_dropout_prob=0.1", "resume=auto", *more,
        )  # fmt: skip

    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert Run(whole, *options(whole, "trainer.devices=2")).end() == 0

    def newest() -> int:
        return max(map(step_of, checkpoints_by_step(folder)), default=0)

    run = Run(folder, *options(folder, "launcher=ray", "launcher.workers=2"))
    run.until(lambda: newest() >= 20)
    holder = json.loads((folder / ".lock.json").read_text(encoding="utf-8"))
    os.kill(holder["pid"], signal.SIGKILL)
    run.until(lambda: "a worker was lost, and Ray started all 2 again" in run.stdout)
    killed_at = newest()
    assert killed_at < steps - 40, "it ended before it was killed"
    run.until(lambda: newest() > killed_at)
    run.send(signal.SIGTERM)
    assert run.end() == 128 + signal.SIGTERM, run.stderr
    told = run.stdout + (folder / "train.log").read_text(encoding="utf-8")
    assert told.count("resumes from step") == 2, "on the terminal and in the log, by rank 0 alone"
    assert "by SIGTERM; saved" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (folder / ".ray").exists()

    assert Run(folder, *options(folder, "trainer.devices=2")).end() == 0
    last = f"checkpoints/step={steps:06d}.ckpt"
    assert_same(state(folder / last), state(whole / last))
