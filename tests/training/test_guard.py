"""A loss or gradient that is not finite: stopped before the update, named, and made again."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import UserError
from bert_lightning.training.fit import fit
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.replay import replay
from bert_lightning.training.stops import StopConsensus, StopSignals

ROOT = Path(__file__).parents[2]
Config = Callable[..., TrainConfig]
EVERY_2 = "callbacks.every_n_train_steps=2"


def state(run: Path, step: int) -> dict[str, Tensor]:
    path = run / "checkpoints" / f"step={step:06d}.ckpt"
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return weights


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_not_made(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    whole = fit(small_config(tmp_path / "whole", EVERY_2))
    original = PretrainingModule.training_step

    def training_step(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> Tensor:
        loss = original(module, batch, batch_idx)
        if batch_idx != 9:  # the second micro-batch of step 5
            return loss
        if where == "loss":
            module.losses[-1] = module.losses[-1] * math.nan
            return loss * math.nan
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(PretrainingModule, "training_step", training_step)
    run = tmp_path / "run"
    config = small_config(run, EVERY_2, "trainer.accumulate_grad_batches=2")
    with pytest.raises(UserError) as stopped:
        fit(config)
    message = str(stopped.value)
    assert "not finite at step 5 (loss" in message
    assert "(loss nan," in message if where == "loss" else "gradient norm nan" in message
    assert f"batch {9 if where == 'loss' else 8} of rank 0" in message
    assert "the step was not taken" in message
    assert f"checkpoint is {run / 'checkpoints' / 'step=000004.ckpt'}" in message
    assert f"bert-lightning replay {run} 5" in message
    assert sorted(path.name for path in (run / "checkpoints").glob("step*.ckpt")) == [
        "step=000003.ckpt",
        "step=000004.ckpt",
    ]
    monkeypatch.undo()
    with pytest.raises(UserError, match="accumulate_grad_batches"):
        fit(small_config(run, EVERY_2, "resume=auto"))
    gone_on = fit(small_config(run, EVERY_2, "trainer.accumulate_grad_batches=2", "resume=auto"))
    for ours, other in zip(gone_on.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-4)


def before_an_update(
    config: TrainConfig, losses: list[float], norm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asks a run at its third step, with the losses of its micro-batches, whether it may go on."""
    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(norm))
    module = PretrainingModule(config, 50, 6, [100], {})
    module.losses += [torch.tensor(loss) for loss in losses]
    trainer: Any = SimpleNamespace(global_step=2)
    StopConsensus(module, StopSignals(), None).on_before_optimizer_step(trainer)
    assert module.between_steps


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("losses", "norm", "batch"),
    [("xo", "o", 4), ("ox", "o", 5), ("xx", "o", 4), ("oo", "x", 4)],
)
def test_whatever_is_not_finite_ends_the_run(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    losses: str,
    norm: str,
    batch: int,
) -> None:
    numbers = {"x": value, "o": 1.5}
    config = small_config(tmp_path)
    with pytest.raises(UserError, match=rf"at step 3 \(.* batch {batch} of rank 0\)"):
        before_an_update(config, [numbers[x] for x in losses], numbers[norm], monkeypatch)
    before_an_update(config, [1.5, 1.5], 1.5, monkeypatch)


def test_fp16_leaves_gradients_that_overflow_to_its_scaler_and_losses_that_do_not(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path)
    config.trainer.precision = "16-mixed"
    before_an_update(config, [1.5], math.inf, monkeypatch)
    with pytest.raises(UserError, match="at step 3"):
        before_an_update(config, [math.inf], 1.5, monkeypatch)


def test_a_replay_is_the_step_as_it_was(small_config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = small_config(run, "callbacks.every_n_train_steps=4", "model.hidden_dropout_prob=0.2")
    result = fit(config)
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    steps = config.trainer.max_steps
    batches = TrainingBatches(corpus, config.batch, 0, StepPartition(0, 1, 1), steps)
    # Step 4's update was made before its checkpoint; step 5 reads the weights that it holds.
    result.model.load_state_dict(
        {name.removeprefix("model."): value for name, value in state(run, 4).items()}
    )
    with torch.no_grad():
        sums = result.model.eval().sums(batches[4])
    replayed = replay(run, 5)
    assert replayed.checkpoint == run / "checkpoints" / "step=000004.ckpt"
    examples = replayed.examples
    assert len(examples) == 32
    mlm = sum(example.losses["mlm"] * example.masked for example in examples)
    assert mlm == pytest.approx(sums["mlm"].nll.item(), rel=1e-5)
    nsp = sum(example.losses["nsp"] for example in examples)
    assert nsp == pytest.approx(sums["nsp"].nll.item(), rel=1e-5)
    assert all(example.text.count("[MASK]") <= example.masked for example in examples)
    assert any("[MASK]" in example.text for example in examples)


def test_a_replay_shows_what_is_to_be_predicted(small_config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    random = ("batch.masking.mask_replace_prob=0.4", "batch.masking.random_replace_prob=0.3")
    config = small_config(run, "trainer.max_steps=2", *random)
    fit(config)
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    batch = TrainingBatches(corpus, config.batch, 0, StepPartition(0, 1, 1), 2)[0]
    originals = batch.sequences.token_ids.clone()
    originals[batch.masked_positions] = batch.masked_labels
    words = [corpus.tokenizer.id_to_token(token) for token in originals.tolist()]
    kinds = set()
    for example, start in zip(replay(run, 1).examples, batch.sequences.cu_seqlens, strict=False):
        shown, read = example.shown.split(" "), example.text.split(" ")
        for place, (token, whole) in enumerate(zip(read, shown, strict=True)):
            original = words[int(start) + place]
            assert whole == (f"{token}({original})" if place in example.originals else token)
            assert place in example.originals or token == original
            if place in example.originals:
                kinds.add("hidden" if token == "[MASK]" else "kept" if token == original else "new")
    assert kinds == {"hidden", "kept", "new"}


@pytest.mark.slow
def test_a_replay_makes_the_steps_between_again(small_config: Config, tmp_path: Path) -> None:
    options = ("model.hidden_dropout_prob=0.2", "callbacks.save_top_k=0")
    often, seldom = tmp_path / "often", tmp_path / "seldom"
    fit(small_config(often, "callbacks.every_n_train_steps=5", *options))
    fit(small_config(seldom, "callbacks.every_n_train_steps=99", *options))
    assert [path.name for path in (seldom / "checkpoints").glob("step*.ckpt")] == [
        "step=000006.ckpt"
    ]
    one, other = replay(often, 6), replay(seldom, 6)
    assert one.checkpoint is not None
    assert other.checkpoint is None
    assert one.examples == other.examples
    with pytest.raises(UserError, match="has no step 7: it has steps 1 to 6"):
        replay(seldom, 7)
    with pytest.raises(UserError, match="is not the config of a run"):
        replay(tmp_path, 1)


@pytest.mark.slow
def test_the_script_shows_the_worst_examples(small_config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(small_config(run, "trainer.max_steps=2"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def script(*arguments: str) -> str:
        command = [sys.executable, str(ROOT / "scripts" / "replay.py"), str(run), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    shown = script("2", "--top", "2")
    assert "32 examples, 0 of them with a non-finite loss" in shown
    assert shown.count("[CLS]") == 2
    examples = [json.loads(line) for line in script("2", "--json").splitlines()]
    worst = max(examples, key=lambda example: sum(example["losses"].values()))
    assert f"example {worst['example']}: MLM {worst['losses']['mlm']:.3f}" in shown
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
