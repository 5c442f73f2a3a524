"""Fine-tuning on the engine of pretraining: any micro-batch, exact resumes, guards, the best."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_files import write_csv
from left_behind import assert_same, checkpoint, curves, read, state
from torch import Tensor

import bert_lightning
from bert_lightning.config import PairKind
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.finetuning.assembly import assemble
from bert_lightning.finetuning.fit import FinetuneResult, finetune
from bert_lightning.finetuning.module import TaskModule
from bert_lightning.finetuning.predict import FineTunedBert
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.model.objective import joint_loss
from bert_lightning.reports.finetune_report import report
from bert_lightning.training import saving

TaskConfigs = Callable[..., FinetuneConfig]
KINDS = pytest.mark.parametrize(
    "kind",
    [
        *("text", "pair", "number", "tokens", "sentence"),
        pytest.param("question", marks=pytest.mark.slow),
    ],
)
EVERY_STEP = {"callbacks.every_n_train_steps": 1, "callbacks.save_top_k": 99}


@pytest.fixture
def stop_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the run get SIGTERM in the first micro-batch of a step."""
    wanted: list[int] = []
    original = TaskModule.training_step

    def training_step(module: TaskModule, batch: TaskBatch, batch_idx: int) -> Tensor:
        if wanted and wanted[-1] == module.global_step + 1:
            wanted.clear()
            os.kill(os.getpid(), signal.SIGTERM)
        return original(module, batch, batch_idx)

    monkeypatch.setattr(TaskModule, "training_step", training_step)
    monkeypatch.setattr(saving, "_NEWEST", 99)
    return wanted.append


def gradient(config: FinetuneConfig, world_size: int, accumulation: int) -> Tensor:
    """The gradient of the second step, of all ranks and micro-batches together, in fp64."""
    run = assemble(config, None)
    model = run.module.model.double().eval()
    for rank in range(world_size):
        batches = run.data.training_batches(StepPartition(rank, world_size, accumulation))
        for number in range(accumulation, 2 * accumulation):
            batch = batches[number]
            joint_loss(model.sums(batch), batch.global_counts, config.weights).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["text", "pair", "number", "tokens", "choice"])
def test_the_gradient_of_a_step_is_the_same_for_any_micro_batch_and_any_ranks(
    task_config: TaskConfigs, tmp_path: Path, kind: str
) -> None:
    config = task_config(tmp_path, kind)
    whole = gradient(config, 1, 1)
    assert whole.norm() > 1e-3
    smallest = 2 if kind == "sentence" else 1  # a group of negatives
    for world_size, accumulation in ((1, 4), (2, 1), (2, 3), (3, 8 // smallest)):
        other = gradient(config, world_size, accumulation)
        assert ((other - whole).norm() / whole.norm()).item() < 1e-9


def weights(result: FinetuneResult) -> Tensor:
    last = read(checkpoint(result.config.folder, result.steps))["state_dict"]
    return torch.cat([value.flatten() for value in last.values()])


@pytest.mark.slow
@KINDS
def test_what_is_trained_is_the_same_for_any_micro_batch_and_any_loader_workers(
    task_config: TaskConfigs, tmp_path: Path, kind: str
) -> None:
    exact = {"trainer.precision": "64-true"}
    whole = finetune(task_config(tmp_path / "whole", kind, **exact))
    divided = finetune(
        task_config(tmp_path / "divided", kind, **exact, **{"batch.micro_batch_size": 4})
    )
    assert divided.run.partition.accumulation == 6
    torch.testing.assert_close(weights(divided), weights(whole), rtol=1e-6, atol=1e-8)
    for name, value in whole.held_out["validation"].scores.items():
        assert divided.held_out["validation"].scores[name] == pytest.approx(value, rel=1e-6)
    workers = finetune(task_config(tmp_path / "workers", kind, **exact, **{"batch.num_workers": 2}))
    assert torch.equal(weights(workers), weights(whole))
    assert curves(workers) == curves(whole)


CASES = [
    pytest.param("text", {}, id="text"),
    pytest.param("tokens", {}, id="tokens", marks=pytest.mark.slow),
    pytest.param("number", {}, id="number", marks=pytest.mark.slow),
    pytest.param(
        "sentence",
        {"task.positives": "dropout", "task.min_score": None, "batch.micro_batch_size": 12},
        id="sentence",
        marks=pytest.mark.slow,
    ),
    pytest.param("question", {}, id="question", marks=pytest.mark.slow),
    pytest.param("pair", {"optim.ema_decay": 0.9}, id="average", marks=pytest.mark.slow),
    pytest.param(
        "text",
        {"batch.micro_batch_size": 8, "batch.num_workers": 2, "trainer.precision": "bf16-mixed"},
        id="accumulation-workers-bf16",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_run_that_is_stopped_in_every_step_is_the_run_that_never_stopped(
    task_config: TaskConfigs,
    tmp_path: Path,
    stop_in: Callable[[int], None],
    kind: str,
    options: dict[str, Any],
) -> None:
    steps = 7  # of 24 examples: an epoch of 72 ends within the run, and 7 is no multiple of 3
    options = {
        "task.dropout": 0.1, "trainer.max_steps": steps, "optim.warmup_steps": 2,
        **EVERY_STEP, **options,
    }  # fmt: skip
    whole = finetune(task_config(tmp_path / "whole", kind, **options))
    assert [step for step, _ in whole.curves["val/error"]] == [3, 6, 7]
    config = task_config(tmp_path / "run", kind, **options, resume="auto")
    for step in range(1, steps):
        stop_in(step)
        with pytest.raises(RunEnded, match=f"stopped at step {step} by SIGTERM; saved") as ended:
            finetune(config)
        assert ended.value.exit_code == 143
    again = finetune(config)
    assert curves(again) == curves(whole)
    same = checkpoint(tmp_path / "whole", steps)
    assert_same(state(checkpoint(tmp_path / "run", steps)), state(same))
    assert again.best_step == whole.best_step
    for split in ("validation", "test"):
        assert again.held_out[split].scores == whole.held_out[split].scores


@pytest.mark.parametrize("change", ["text", "label", "task", "init_from", "seed", "batch", "more"])
def test_a_resume_with_other_options_or_data_says_what_differs(
    task_config: TaskConfigs,
    pretrained: Callable[..., Path],
    tmp_path: Path,
    change: str,
) -> None:
    rows = [[f"the {noun} {verb}", verb] for noun in "abcdefgh" for verb in ("lifts", "opens")]
    file = write_csv(tmp_path / "train.csv", rows)
    options: dict[str, Any] = {"data.path": str(file), "batch.global_batch_size": 4}
    config = task_config(tmp_path / "run", **options, **{"trainer.max_steps": 2})
    finetune(config)
    more: dict[str, Any] = {}
    kind, expected = "text", ""
    if change == "text":
        write_csv(file, [[f"{text} now", label] for text, label in rows])
        expected = "labelled data: the examples of train are others; "
    elif change == "label":
        write_csv(file, [[text, label.upper()] for text, label in rows])
        expected = "labelled data: the classes are LIFTS, OPENS, and they were lifts, opens"
    elif change == "task":
        kind, more = "pair", {"task.text_column": "text", "task.pair_column": "other"}
        write_csv(
            file, [[*row[:1], "an other", *row[1:]] for row in rows], ("text", "other", "label")
        )
        expected = r"task\.kind=pair, and it was text"
    elif change == "init_from":
        more = {"init_from": pretrained(PairKind.none)}
        expected = "init_from="
    elif change == "seed":
        more, expected = {"seed": 1}, "seed=1, and it was 0"
    elif change == "batch":
        more, expected = {"batch.global_batch_size": 8}, "batch.global_batch_size=8, and it was 4"
    elif change == "more":
        more, expected = {"trainer.max_steps": 3}, r"trainer\.max_steps=3, and it was 2"
    changed = task_config(tmp_path / "run", kind, **{"trainer.max_steps": 2, **options, **more})
    with pytest.raises(UserError, match=expected) as refused:
        finetune(replace(changed, resume="auto"))
    assert "allow_changes=true" in str(refused.value) or change == "init_from"


def test_a_run_of_pretraining_is_not_resumed_as_one_of_fine_tuning(
    task_config: TaskConfigs, pretrained: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(pretrained(), run, symlinks=True)
    with pytest.raises(UserError, match=r"holds a run of pretraining, not of fine-tuning: .*train"):
        finetune(replace(task_config(run), resume="auto"))


# The best checkpoint.


def judged(monkeypatch: pytest.MonkeyPatch, errors: list[float]) -> None:
    """Has the validations find these errors, whatever the model says."""
    found = iter(errors)
    original = TaskModule.held_out_scores
    monkeypatch.setattr(
        TaskModule,
        "held_out_scores",
        lambda module, total: {**original(module, total), "error": next(found)},
    )


def test_the_best_checkpoint_is_the_one_that_is_scored_loaded_and_reported(
    task_config: TaskConfigs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, [0.5, 0.2, 0.4, 0.3])
    options = {"trainer.max_steps": 4, "trainer.val_check_interval": 1, "optim.lr": 0.01}
    result = finetune(task_config(tmp_path, **options))
    assert (result.best_step, result.steps) == (2, 4)
    assert "the best validation was at step 2 of 4" in report(result)
    best = read(checkpoint(tmp_path, 2))["state_dict"]
    last = read(checkpoint(tmp_path, 4))["state_dict"]
    name = "head.classifier.weight"
    assert torch.equal(result.bert.model.state_dict()[name], best[f"model.{name}"])
    assert not torch.equal(best[f"model.{name}"], last[f"model.{name}"])
    bert = bert_lightning.load(tmp_path)
    assert isinstance(bert, FineTunedBert)
    assert torch.equal(bert.model.state_dict()[name], best[f"model.{name}"])


def test_early_stopping_follows_the_main_score(
    task_config: TaskConfigs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, [0.5, 0.4, 0.42, 0.45, 0.1])
    options = {
        "trainer.max_steps": 9, "trainer.val_check_interval": 1,
        "callbacks.early_stopping_patience": 2,
    }  # fmt: skip
    result = finetune(task_config(tmp_path, **options))
    assert (result.steps, result.best_step) == (4, 2)
    assert result.run.module.progress.early_end.startswith("no better score in 2 validations in a")


def test_without_checkpoints_the_last_step_is_scored(
    task_config: TaskConfigs, tmp_path: Path
) -> None:
    options = {"trainer.enable_checkpointing": False, "trainer.max_steps": 2}
    result = finetune(task_config(tmp_path, **options))
    assert result.best_step == result.steps == 2
    assert not (tmp_path / "checkpoints").exists()
    assert result.held_out["test"].scores


def test_the_average_of_the_weights_is_what_is_scored_and_loaded(
    task_config: TaskConfigs, tmp_path: Path
) -> None:
    options = {"optim.ema_decay": 0.9, "trainer.max_steps": 3, "optim.lr": 0.01}
    result = finetune(task_config(tmp_path, **options))
    module, name = result.run.module, "head.classifier.weight"
    assert module.average is not None
    ours = result.bert.model.state_dict()[name]
    assert torch.equal(ours, module.average.state_dict()[name])
    assert not torch.equal(ours, module.model.state_dict()[name])
    bert = bert_lightning.load(tmp_path)
    assert isinstance(bert, FineTunedBert)
    assert torch.equal(bert.model.state_dict()[name], ours)


def test_a_step_that_is_not_finite_is_not_made(
    task_config: TaskConfigs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TaskModule.training_step

    def training_step(module: TaskModule, batch: TaskBatch, batch_idx: int) -> Tensor:
        loss = original(module, batch, batch_idx)
        if module.global_step != 2:
            return loss
        module.losses[-1] = module.losses[-1] * math.nan
        return loss * math.nan

    monkeypatch.setattr(TaskModule, "training_step", training_step)
    with pytest.raises(UserError, match="not finite at step 3") as stopped:
        finetune(task_config(tmp_path, **EVERY_STEP))
    assert "the step was not taken" in str(stopped.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step*.ckpt")) == [
        "step=000001.ckpt",
        "step=000002.ckpt",
    ]


def test_numbers_of_which_all_that_are_drawn_are_equal_are_refused(
    task_config: TaskConfigs, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="nothing to learn"):
        finetune(task_config(tmp_path, "number", **{"data.train_examples": 1}))


def test_a_run_that_is_complete_says_so(task_config: TaskConfigs, tmp_path: Path) -> None:
    config = task_config(tmp_path, **{"trainer.max_steps": 2})
    finetune(config)
    with pytest.raises(UserError, match="already holds a run, at step 2"):
        finetune(config)
    (tmp_path / "summary.json").write_text(json.dumps({}))
    with pytest.raises(RunEnded, match="already complete at step 2"):
        finetune(replace(config, resume="auto"))
