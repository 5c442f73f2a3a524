"""The average of the weights: what it is, who sees it, and that training does not."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import bert_lightning
from bert_lightning.batch import PretrainBatch
from bert_lightning.config import ModelConfig, OptimConfig, TrainConfig, TrainerConfig
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import joint_loss
from bert_lightning.optim.ema import (
    TRAINED,
    average_of,
    decay_at,
    follow,
    put_average_first,
    put_trained_first,
)
from bert_lightning.pretrained.sources import open_source
from bert_lightning.training import saving
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.replay import replay

Config = Callable[..., TrainConfig]
EMA = "optim.ema_decay=0.5"
OPTIONS = (
    *("trainer.max_steps=8", "trainer.val_check_interval=3", "callbacks.every_n_train_steps=1"),
    *("optim.lr=0.01", "model.hidden_dropout_prob=0.2", "data.test_fraction=0.1", "test=true"),
)


@pytest.fixture(autouse=True)
def keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_NEWEST", 99)


@pytest.fixture(scope="module")
def averaged(
    small_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FitResult, dict[str, Tensor]]:
    """A run with an average, and its initial weights."""
    begun: dict[str, Tensor] = {}
    original = PretrainingModule.on_train_start

    def on_train_start(module: PretrainingModule) -> None:
        state = module.model.state_dict()
        begun.update({f"model.{name}": value.clone() for name, value in state.items()})
        original(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "_NEWEST", 99)
        patch.setattr(PretrainingModule, "on_train_start", on_train_start)
        return fit(small_config(tmp_path_factory.mktemp("averaged"), *OPTIONS, EMA)), begun


def checkpoint(run: Path | str, step: int) -> Path:
    return Path(run) / "checkpoints" / f"step={step:06d}.ckpt"


def read(run: Path | str, step: int) -> dict[str, Any]:
    return torch.load(checkpoint(run, step), weights_only=True)


def assert_same(one: dict[str, Any], other: dict[str, Any], *parts: str) -> None:
    """Both checkpoints have the same model, trained weights and moments, to the bit."""
    for part in parts or ("state_dict", TRAINED, "optimizer_states"):
        torch.testing.assert_close(one[part], other[part], rtol=0, atol=0)


def test_it_forgets_its_start_in_a_short_run_too() -> None:
    assert [decay_at(0.999, step) for step in (1, 8, 90)] == [2 / 11, 9 / 18, 91 / 100]
    assert decay_at(0.9, 79) == 80 / 89
    assert decay_at(0.9, 81) == decay_at(0.9, 10**6) == 0.9


def test_it_is_a_copy_that_nothing_else_changes() -> None:
    model = BertForPreTraining(ModelConfig(), vocab_size=50)
    average = average_of(model)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    before = average.encoder.embeddings.word.weight.clone()
    with torch.no_grad():
        model.encoder.embeddings.word.weight += 1
    assert torch.equal(average.encoder.embeddings.word.weight, before)


def test_a_checkpoint_loads_into_a_run_with_an_average_or_without() -> None:
    learned, averages = {"model.w": 1}, {"average.w": 2}
    averaged: dict[str, Any] = {"state_dict": {**learned, **averages}}
    put_average_first(averaged)
    assert averaged == {"state_dict": {"model.w": 2}, TRAINED: learned}
    plain = {"state_dict": learned}
    for checkpoint, averaging, expected in (
        (averaged, True, {**learned, **averages}),
        (averaged, False, learned),
        (plain, True, {**learned, "average.w": 1}),
        (plain, False, learned),
    ):
        loaded = dict(checkpoint)
        put_trained_first(loaded, averaging)
        assert loaded == {"state_dict": expected}


def test_a_sharded_average_is_sharded_again_before_it_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lightning gathers what is outside the blocks for a validation, and leaves it gathered."""
    resharded: list[Any] = []

    class Sharded(BertForPreTraining):
        def reshard(self) -> None:
            resharded.append(self)

    monkeypatch.setattr("bert_lightning.optim.ema.FSDPModule", Sharded)
    model, average = BertForPreTraining(ModelConfig(), 50), Sharded(ModelConfig(), 50)
    follow(average, model, 0.5, 100)
    follow(model, average, 0.5, 100)
    assert resharded == [average]


def test_it_is_the_average_of_the_weights_after_each_step(
    averaged: tuple[FitResult, dict[str, Tensor]],
) -> None:
    result, initial = averaged
    expected = {name: value.double() for name, value in initial.items()}
    for step in range(1, 9):
        saved = read(result.config.run_dir, step)
        d = min(0.5, (1 + step) / (10 + step))
        for name, value in saved[TRAINED].items():
            expected[name] = d * expected[name] + (1 - d) * value.double()
        assert saved["state_dict"].keys() == saved[TRAINED].keys() == expected.keys()
        for name, value in saved["state_dict"].items():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_training_is_as_without_an_average_and_without_validations(
    averaged: tuple[FitResult, dict[str, Tensor]], small_config: Config, tmp_path: Path
) -> None:
    result = averaged[0]
    without = fit(small_config(tmp_path / "without", *OPTIONS))
    fit(small_config(tmp_path / "unseen", *OPTIONS, EMA, "trainer.limit_val_batches=0"))
    last = read(result.config.run_dir, 8)
    plain = read(without.config.run_dir, 8)
    assert TRAINED not in plain
    torch.testing.assert_close(last[TRAINED], plain["state_dict"], rtol=0, atol=0)
    assert_same(last, plain, "optimizer_states")
    assert_same(last, read(tmp_path / "unseen", 8))
    assert result.curves["train/loss"] == without.curves["train/loss"]
    assert result.curves["val/loss"] != without.curves["val/loss"]


def test_it_is_what_is_validated_tested_returned_and_read(
    averaged: tuple[FitResult, dict[str, Tensor]],
) -> None:
    result = averaged[0]
    run = result.config.run_dir
    loaded = bert_lightning.load(checkpoint(run, 8)).model.state_dict()
    torch.testing.assert_close(dict(result.model.state_dict()), dict(loaded), rtol=0, atol=0)
    for split, at in (("val", (3, 6, 8)), ("test", (8,))):
        assert [step for step, _ in result.curves[f"{split}/loss"]] == list(at)
        split_name = "validation" if split == "val" else split
        (batch,) = EvaluationBatches(result.corpus, split_name, result.config.batch, 10_000)
        for step, logged in result.curves[f"{split}/loss"]:
            model = bert_lightning.load(checkpoint(run, step)).model
            with torch.no_grad():
                loss = joint_loss(
                    model.sums(batch), batch.global_counts, result.config.objective.weights
                )
            assert loss.item() == pytest.approx(logged, rel=1e-5)
    state = read(run, 8)["state_dict"]
    for name, value in open_source(checkpoint(run, 8)).state.items():
        assert torch.equal(value, state[f"model.{name}"])


@pytest.mark.slow
def test_what_ends_a_validation_leaves_no_wrong_weights(
    averaged: tuple[FitResult, dict[str, Tensor]],
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, config = averaged[0], small_config(tmp_path, *OPTIONS, EMA, "resume=auto")
    original, ends = PretrainingModule.validation_step, {3: "signal", 6: "error"}

    def validation_step(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> None:
        original(module, batch, batch_idx)
        match ends.pop(module.global_step, None):
            case "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            case "error":
                raise ArithmeticError

    monkeypatch.setattr(PretrainingModule, "validation_step", validation_step)
    with pytest.raises(RunEnded, match="stopped at step 3 by SIGTERM"):
        fit(config)
    assert_same(read(tmp_path, 3), read(whole.config.run_dir, 3))
    with pytest.raises(ArithmeticError):
        fit(config)
    assert not checkpoint(tmp_path, 6).exists()
    last = fit(config)
    for step in range(1, 9):
        assert_same(read(tmp_path, step), read(whole.config.run_dir, step))
    for name in ("val/loss", "test/loss", "train/loss"):
        assert last.curves[name] == whole.curves[name]


@pytest.mark.slow
def test_it_ends_and_begins_in_the_middle_where_changes_are_allowed(
    averaged: tuple[FitResult, dict[str, Tensor]], small_config: Config, tmp_path: Path
) -> None:
    whole = averaged[0].config.run_dir
    weights = {step: read(whole, step)[TRAINED] for step in (5, 6, 8)}

    def go_on(run: Path, earlier: Path, *options: str) -> None:
        checkpoint(run, 5).parent.mkdir(parents=True)
        shutil.copy(earlier, checkpoint(run, 5))
        fit(small_config(run, *OPTIONS, "resume=auto", *options))

    with pytest.raises(UserError, match=r"optim.ema_decay=None, and it was 0.5"):
        go_on(tmp_path / "refused", checkpoint(whole, 5))
    go_on(tmp_path / "ended", checkpoint(whole, 5), "allow_changes=true")
    ended = read(tmp_path / "ended", 8)
    assert TRAINED not in ended
    torch.testing.assert_close(ended["state_dict"], weights[8], rtol=0, atol=0)

    fit(small_config(tmp_path / "without", *OPTIONS))
    go_on(tmp_path / "begun", checkpoint(tmp_path / "without", 5), "allow_changes=true", EMA)
    begun = read(tmp_path / "begun", 6)
    torch.testing.assert_close(begun[TRAINED], weights[6], rtol=0, atol=0)
    d = decay_at(0.5, 6)
    for name, value in begun["state_dict"].items():
        expected = d * weights[5][name].double() + (1 - d) * weights[6][name].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-7)


def test_a_step_is_replayed_with_the_weights_that_learn(
    small_config: Config, tmp_path: Path
) -> None:
    options = ("model.hidden_dropout_prob=0", "callbacks.every_n_train_steps=3", EMA)
    result = fit(small_config(tmp_path, *options))
    examples = replay(tmp_path, 5).examples
    masked = sum(example.masked for example in examples)
    loss = sum(example.losses["mlm"] * example.masked for example in examples) / masked
    assert loss == pytest.approx(result.curves["train/mlm_loss"][4][1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with a C++ compiler")
def test_compiled_blocks_are_averaged_under_the_same_names(
    small_config: Config, tmp_path: Path
) -> None:
    options = ("trainer.max_steps=3", EMA)
    plain = fit(small_config(tmp_path / "plain", *options))
    compiled = fit(small_config(tmp_path / "compiled", *options, "model.compile=true"))
    one, other = (read(tmp_path / name, 3) for name in ("plain", "compiled"))
    for part in ("state_dict", TRAINED):
        assert one[part].keys() == other[part].keys()
    for name in ("train/loss", "val/loss"):
        values = [value for _, value in plain.curves[name]]
        assert [value for _, value in compiled.curves[name]] == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_that_averages_nothing(decay: float) -> None:
    with pytest.raises(UserError, match=f"optim.ema_decay={decay:g} must be above 0 and below 1"):
        OptimConfig(ema_decay=decay)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_sixteen_bits_are_too_few_for_an_average(precision: str) -> None:
    with pytest.raises(UserError, match=f"precision={precision}.* use trainer.precision=bf16-mi"):
        TrainConfig(optim=OptimConfig(ema_decay=0.9), trainer=TrainerConfig(precision=precision))
