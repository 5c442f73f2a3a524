"""What a run measures beside its scores: each curve against a plain computation of its value."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset

from bert_lightning.config import TrainConfig
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.sizing import machine
from bert_lightning.training.datamodule import TimedLoader
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.metrics import charts

CLIP, EVERY = 1.35, 2


def weights(model: BertForPreTraining) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@dataclass
class Watcher(Callback):
    """Keeps what a run did, by its steps from 0."""

    norms: list[float] = field(default_factory=list)
    updates: list[float] = field(default_factory=list)
    lengths: list[np.ndarray] = field(default_factory=list)
    masked: list[int] = field(default_factory=list)
    waited: float = 0.0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._weights = weights(module.model)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.lengths.append(np.zeros(0, int))
            self.masked.append(0)
        self.lengths[-1] = np.concatenate([self.lengths[-1], batch.sequences.lengths])
        self.masked[-1] += len(batch.masked_labels)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        gradients = [parameter.grad.flatten() for parameter in module.model.parameters()]
        self.norms.append(torch.cat(gradients).norm().item())

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.waited = trainer.train_dataloader.waited
        if module.between_steps:
            before, self._weights = self._weights, weights(module.model)
            self.updates.append((self._weights - before).norm().item())


@pytest.fixture(scope="module")
def watched(
    small_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> tuple[FitResult, Watcher]:
    """A run of three micro-batches a step, of which each second one is logged, and the last."""
    watcher = Watcher()
    options = [
        *("batch.global_batch_size=24", "batch.micro_batch_size=8", "logger=none"),
        *(f"trainer.log_every_n_steps={EVERY}", "trainer.max_steps=5", "optim=muon"),
        *(f"trainer.gradient_clip_val={CLIP}", "trainer.enable_progress_bar=false"),
        "model.cooccurrence_init=false",  # whose seconds are not those of steps
    ]
    config = small_config(tmp_path_factory.mktemp("watched"), *options)
    return fit(config, callbacks=[watcher]), watcher


def logged(result: FitResult, name: str) -> list[float]:
    assert [step for step, _ in result.curves[name]] == [2, 4, 5]
    return [value for _, value in result.curves[name]]


def test_norms_are_those_of_the_logged_step(watched: tuple[FitResult, Watcher]) -> None:
    result, watcher = watched
    steps = [1, 3, 4]
    norms = logged(result, "weights/gradient_norm")
    assert norms == pytest.approx([watcher.norms[step] for step in steps], rel=1e-5)
    updates = logged(result, "weights/update_norm")
    assert updates == pytest.approx([watcher.updates[step] for step in steps], rel=1e-3)
    assert min(updates) > 0


def test_the_fraction_of_clipped_steps_is_since_the_last_log(
    watched: tuple[FitResult, Watcher],
) -> None:
    result, watcher = watched
    clipped = np.array(watcher.norms) > CLIP
    assert 0 < clipped.sum() < 5, watcher.norms
    expected = [clipped[:2].mean(), clipped[2:4].mean(), clipped[4:].mean()]
    assert logged(result, "weights/clipped_fraction") == expected


def test_a_run_that_clips_nothing_has_no_such_curve(run: FitResult) -> None:
    assert "weights/clipped_fraction" not in run.curves


def test_flops_are_useful_ones_of_all_micro_batches(watched: tuple[FitResult, Watcher]) -> None:
    result, watcher = watched
    seconds = np.diff([0, *logged(result, "work/training_seconds")])
    found = np.array(logged(result, "work/tflops")) * 1e12 * seconds
    config, rows = result.model.config, result.model.encoder.embeddings.word.num_embeddings
    h, i, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    for place, steps in enumerate([slice(0, 2), slice(2, 4), slice(4, 5)]):
        lengths = np.concatenate(watcher.lengths[steps])
        blocks = sum(layers * (8 * n * h * h + 4 * n * n * h + 4 * n * h * i) for n in lengths)
        heads = len(lengths) * (2 * h * h + 4 * h)
        heads += 2 * sum(watcher.masked[steps]) * h * (h + rows)
        assert found[place] == pytest.approx(3 * (blocks + heads), rel=1e-5)


def test_utilization_is_a_fraction_of_the_measured_matrix_rate(
    watched: tuple[FitResult, Watcher],
) -> None:
    result, _ = watched
    rate = result.progress.matrix_tflops
    assert rate == machine.rate_of_run(torch.device("cpu"), "32-true")
    assert rate is not None
    expected = [tflops / rate for tflops in logged(result, "work/tflops")]
    assert logged(result, "work/mfu") == pytest.approx(expected)


def test_the_rate_is_measured_in_the_precision_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(_: torch.device, dtype: torch.dtype, rows: int | None) -> Any:
        return dtype, rows

    monkeypatch.setattr(machine, "matrix_tflops", measured)
    cpu, rate = torch.device("cpu"), machine.rate_of_run.__wrapped__
    assert rate(cpu, "32-true") == (torch.float32, 1024)
    assert rate(cpu, "bf16-mixed") == rate(cpu, "bf16-true") == (torch.bfloat16, 1024)
    assert rate(cpu, "16-mixed") == (torch.float16, 1024)
    assert rate(cpu, "64-true") == (torch.float64, 1024)
    assert rate(torch.device("cuda"), "32-true") == (torch.float32, None)
    assert rate(torch.device("mps"), "32-true") is None


def test_peak_memory_and_waiting(watched: tuple[FitResult, Watcher]) -> None:
    result, watcher = watched
    peaks = logged(result, "work/peak_memory_gib")
    assert peaks == sorted(peaks)
    assert 0.05 < peaks[-1] <= machine.peak_memory() / 2**30 * (1 + 1e-6)
    seconds = np.diff([0, *logged(result, "work/training_seconds")])
    waited = float(np.dot(logged(result, "work/waiting_fraction"), seconds))
    assert 0 < waited <= watcher.waited + 1e-6


class SlowBatches(Dataset[int]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        time.sleep(0.03)
        return index


def test_a_loader_counts_the_time_that_its_reader_waits() -> None:
    loader = TimedLoader(SlowBatches(), batch_size=None)
    found = []
    for batch in loader:
        found.append(int(batch))
        time.sleep(0.5)  # which the reader spends itself
    assert found == [0, 1, 2]
    assert 0.09 <= loader.waited < 0.7


def test_the_baselines_of_scores_are_constant_curves(run: FitResult) -> None:
    assert run.validation is not None
    baselines = run.validation.baselines
    expected = {
        "loss": baselines.mlm_loss + (baselines.nsp_loss or 0),
        "mlm_loss": baselines.mlm_loss,
        "nsp_accuracy": baselines.nsp_accuracy,
    }
    for name, value in expected.items():
        assert run.curves[f"val/{name}_baseline"] == [(3, value), (6, value)]
        assert len(run.curves[f"val/{name}"]) == 2
    assert "val/mlm_accuracy_at_5_baseline" not in run.curves


def test_charts_name_curves_that_there_are(run: FitResult) -> None:
    for titles in charts(run.config.weights).values():
        assert {name for names in titles.values() for name in names} <= run.curves.keys()


def test_the_curves_open_on_the_losses(run: FitResult) -> None:
    """TensorBoard sorts the cards by name, and opens the first two groups."""
    names = sorted(run.curves)
    assert [*dict.fromkeys(name.partition("/")[0] for name in names)] == [
        *("train", "val", "weights", "work")
    ]
    assert names[0] == "train/loss"


@pytest.fixture(scope="module")
def run(
    small_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> FitResult:
    off = ["logger=none", "trainer.enable_progress_bar=false"]
    return fit(small_config(tmp_path_factory.mktemp("run"), *off))


def test_what_is_measured_changes_nothing_that_is_learned(
    run: FitResult, small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    rarely = ["trainer.log_every_n_steps=100", "logger=none", "trainer.enable_progress_bar=false"]
    other = fit(small_config(tmp_path, *rarely))
    assert torch.equal(weights(run.model), weights(other.model))
