"""Whole small runs in this process: what they compute and what they leave behind."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

import bert_lightning
from bert_lightning.batch import PretrainBatch
from bert_lightning.config import LoggerConfig, TrainConfig
from bert_lightning.corpus.tokenizer import load_tokenizer_text
from bert_lightning.data.evaluation_set import EvaluationBatches
from bert_lightning.data.statistics import lines
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import Sums
from bert_lightning.reports.run_report import report
from bert_lightning.training.assembly import assemble
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def run(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    result = fit(
        small_config(tmp_path_factory.mktemp("run"), "test=true", "data.test_fraction=0.1")
    )
    print(report(result))
    return result


def weights(result: FitResult) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in result.model.parameters()])


def test_the_tensorboard_file_holds_every_curve(run: FitResult) -> None:
    events = EventAccumulator(run.config.run_dir)
    events.Reload()
    scores = ["loss", "mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy"]
    training = [f"train/{name}" for name in [*scores, "lr"]]
    speed = ["work/pairs_per_second", "work/tokens_per_second", "work/training_seconds"]
    assert {*training, *speed, *(f"val/{name}" for name in scores)} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/mlm_loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("val/nsp_loss")] == [3, 6]
    for name, curve in run.curves.items():
        values = [event.value for event in events.Scalars(name)]
        assert values == pytest.approx([value for _, value in curve], rel=1e-5)


def test_tensorboard_shows_both_losses_in_one_chart_and_the_config_as_text(
    run: FitResult,
) -> None:
    events = EventAccumulator(run.config.run_dir)
    events.Reload()
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    both, *alone = next(one for one in layout.category if one.title == "losses").chart
    shown = {f"^{split}/{name}_loss$" for split in ("train", "val") for name in ("mlm", "nsp")}
    assert set(both.multiline.tag) == shown
    assert [chart.title for chart in alone] == ["MLM and its baseline", "NSP and its baseline"]
    assert alone[0].multiline.tag[2] == "^val/mlm_loss_baseline$"
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"global_batch_size": 32' in text
    assert run.config.data.path in text
    corpus = events.Tensors("corpus/text_summary")[0].tensor_proto.string_val[0].decode()
    assert corpus.startswith("text: ")


def test_the_learning_rate_falls_to_nothing_over_the_run(run: FitResult) -> None:
    rates = [value for _, value in run.curves["train/lr"]]
    peak = run.config.optim.lr
    assert rates == pytest.approx([peak * (1 - step / 6) for step in range(1, 7)])


@pytest.mark.parametrize("optim", ["adam", "lamb", "muon"])
def test_each_rate_has_a_curve_of_its_own_in_tensorboard(
    small_config: Config, tmp_path: Path, optim: str
) -> None:
    rates = ["optim.lr=0.004", "optim.matrix_lr=0.02", "optim.warmup_steps=0"]
    config = small_config(tmp_path, f"optim={optim}", *rates, "optim.schedule=linear")
    config = replace(config, trainer=replace(config.trainer, max_steps=2))
    fit(replace(config, logger=LoggerConfig(tensorboard=True)))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = {
        name: [event.value for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if name.endswith("lr")
    }
    expected = {"train/lr": pytest.approx([0.002, 0])}
    if optim == "muon":
        expected["train/matrix_lr"] = pytest.approx([0.01, 0])
    assert shown == expected


@pytest.mark.slow
def test_a_short_run_warns_of_nothing_and_a_budget_is_announced_as_one(
    small_config: Config,
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        fit(small_config(tmp_path / "a", "trainer.max_steps=2", "trainer.log_every_n_steps=50"))
        options = ("optim.time_budget=0.1s", "optim.schedule=wsd", "trainer.max_steps=null")
        fit(small_config(tmp_path / "b", *options))
    assert not [str(warning.message) for warning in recwarn]
    model = [line for line in caplog.messages if line.startswith("model: ")]
    assert "; 2 steps of 32 pairs = " in model[0]
    assert "; steps for 0.1s of 32 pairs = " in model[1]


def test_training_learns(small_config: Config, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, "objective.unigram_bias_init=false"))
    losses = [value for _, value in run.curves["train/mlm_loss"]]
    assert losses[-1] < losses[0] - 0.1


def test_the_summary_says_what_was_done(run: FitResult) -> None:
    summary = json.loads((Path(run.config.run_dir) / "summary.json").read_text())
    assert (summary["corpus"], summary["steps"], summary["pairs"]) == ("text", 6, 6 * 32)
    assert summary["vocab_size"] == run.corpus.tokenizer.get_vocab_size()
    assert summary["devices"] == 1
    assert summary["fallback_reason"] is None
    assert len(summary["config_hash"]) == 64
    last = {name: curve[-1][1] for name, curve in run.curves.items()}
    assert summary["validation"]["mlm_loss"] == last["val/mlm_loss"]
    assert summary["test"]["nsp_accuracy"] == last["test/nsp_accuracy"]
    assert set(summary["validation_baselines"]) == {
        "mlm_loss",
        "mlm_accuracy",
        "nsp_loss",
        "nsp_accuracy",
        "mlm_accuracy_known",
    }
    train = run.corpus.splits["train"]
    assert summary["data"]["splits"]["train"]["pairs"] == train.pairs
    majority = pytest.approx(summary["validation_baselines"]["nsp_accuracy"])
    assert summary["data"]["labels"]["majority"] == majority
    # 32 pairs a step, of which each has at least five tokens and at most max_length
    assert 6 * 32 * 5 < summary["real_tokens"] < 6 * 32 * 128
    assert summary["pairs_per_second"] == pytest.approx(
        summary["pairs"] / summary["training_seconds"], rel=0.05
    )


def test_the_losses_are_drawn(run: FitResult) -> None:
    picture = (Path(run.config.run_dir) / "loss.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_the_report_names_the_run_the_losses_their_baselines_and_the_next_command(
    run: FitResult,
) -> None:
    lines = report(run)
    assert run.validation is not None
    assert run.config.run_dir in lines
    assert f"{run.curves['val/mlm_loss'][-1][1]:.3f}" in lines
    assert f"(baseline {run.validation.baselines.mlm_loss:.3f})" in lines
    assert "pairs/s" in lines
    assert lines.count("the text has: ") == 3
    assert f'bert-lightning fill-mask {run.config.run_dir} "' in lines


def test_a_checkpoint_is_plain_and_enough_to_use_the_model(run: FitResult) -> None:
    folder = Path(run.config.run_dir) / "checkpoints"
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    about = checkpoint["bert_lightning"]
    assert about["corpus"] == "text"
    assert about["config"]["optim"]["optimizer"] == "adamw"
    assert checkpoint["global_step"] == 6
    tokenizer = (folder.parent / "tokenizer.json").read_text()
    assert load_tokenizer_text(tokenizer).to_str() == about["tokenizer"]
    bert = bert_lightning.load(folder / "last.ckpt")
    for ours, trained in zip(bert.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(ours, trained)
    assert bert.encode("the crane moves").vectors.shape == (5, 32)
    assert (folder / "best.ckpt").resolve().name in {"step=000003.ckpt", "step=000006.ckpt"}


def test_the_validation_curve_is_the_loss_over_all_held_out_pairs(run: FitResult) -> None:
    held_out = EvaluationBatches(run.corpus, "validation", run.config.batch, batch_size=1000)
    (batch,) = [held_out[i] for i in range(len(held_out))]
    with torch.no_grad():
        sums = run.model.eval().sums(batch)
    assert run.curves["val/mlm_loss"][-1][1] == pytest.approx(
        sums["mlm"].nll.item() / len(batch.masked_labels), rel=1e-5
    )
    assert run.curves["val/nsp_accuracy"][-1][1] == pytest.approx(
        sums["nsp"].correct.item() / len(batch.nsp_labels)
    )


@pytest.mark.parametrize("more", ["batch.micro_batch_size=8", "batch.num_workers=2"])
def test_accumulation_and_workers_change_nothing(
    small_config: Config, tmp_path: Path, more: str
) -> None:
    # In fp64, since Adam divides a gradient near 0 by its own size, and fp32's noise with it.
    exact = "trainer.precision=64-true"
    run = fit(small_config(tmp_path / "whole", exact))
    other = fit(small_config(tmp_path / "divided", exact, more))
    for name in ("train/mlm_loss", "train/nsp_loss", "val/loss"):
        assert other.curves[name] == [
            (step, pytest.approx(value, rel=1e-5)) for step, value in run.curves[name]
        ]
    torch.testing.assert_close(weights(other), weights(run), rtol=1e-6, atol=1e-8)


def test_the_same_run_twice_gives_the_same_bits_dropout_and_all(
    small_config: Config, tmp_path: Path
) -> None:
    dropout = ["model.hidden_dropout_prob=0.2", "model.attention_probs_dropout_prob=0.2"]
    first = fit(small_config(tmp_path / "a", *dropout))
    torch.manual_seed(123)  # whatever happened before
    second = fit(small_config(tmp_path / "b", *dropout, "trainer.val_check_interval=6"))
    assert torch.equal(weights(first), weights(second))
    other = fit(small_config(tmp_path / "c", *dropout, "seed=1"))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped(
    small_config: Config, tmp_path: Path, precision: str, algorithm: str
) -> None:
    options = [
        f"trainer.precision={precision}",
        *("objective.unigram_bias_init=false", "model.cooccurrence_init=false"),
        "optim.eps=1.0",  # an update is then about as large as its gradient
        "optim.weight_decay=0",
    ]
    clipping = (f"trainer.gradient_clip_algorithm={algorithm}", "trainer.gradient_clip_val=1e-9")
    config = small_config(tmp_path / "clipped", *options, *clipping)
    clipped = fit(config)
    vocab_size = clipped.corpus.tokenizer.get_vocab_size()
    initial = PretrainingModule(config, vocab_size, 6, 1, {}).model
    start = torch.cat([parameter.flatten() for parameter in initial.parameters()])
    assert (weights(clipped) - start).abs().max() < 1e-9
    free = fit(small_config(tmp_path / "free", *options))
    assert (weights(free) - start).abs().max() > 1e-6


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with a C++ compiler")
def test_compiled_blocks_train_the_same_under_the_same_names(
    small_config: Config, tmp_path: Path
) -> None:
    plain = fit(small_config(tmp_path / "plain", "trainer.max_steps=2", "arch=modern"))
    compiled = fit(
        small_config(
            tmp_path / "compiled", "trainer.max_steps=2", "arch=modern", "model.compile=true"
        )
    )
    for name in ("train/mlm_loss", "train/nsp_loss", "val/loss"):
        values = [pytest.approx(value, rel=1e-4) for _, value in plain.curves[name]]
        assert [value for _, value in compiled.curves[name]] == values
    names = [
        list(torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
        for run in ("plain", "compiled")
    ]
    assert names[0] == names[1]
    bert_lightning.load(tmp_path / "compiled").encode("the crane moves")


@pytest.mark.parametrize("arch", ["bert", "modern"])
def test_either_kind_trains_in_bf16_and_is_used_alone(
    small_config: Config, tmp_path: Path, arch: str
) -> None:
    result = fit(small_config(tmp_path, f"arch={arch}", "trainer.precision=bf16-mixed"))
    losses = [value for _, value in result.curves["train/mlm_loss"]]
    assert losses[-1] < losses[0] - 0.1
    bert = bert_lightning.load(tmp_path)
    assert bert.model.config == result.model.config
    assert bert.encode("the crane moves").vectors.dtype is torch.float32


def test_a_run_by_epochs_ends_after_as_many_pairs(small_config: Config, tmp_path: Path) -> None:
    config = small_config(
        tmp_path, "trainer.max_steps=-1", "trainer.max_epochs=0.25", "batch.micro_batch_size=4"
    )
    result = fit(config)
    expected = -(-result.corpus.splits["train"].pairs // 4 // 32)
    assert abs(result.steps - expected) <= 1
    assert result.curves["val/loss"][-1][0] == result.steps


@pytest.mark.slow
def test_validation_is_no_part_of_the_time_of_training(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PretrainingModule.validation_step

    def slow(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> None:
        time.sleep(0 if batch_idx else 1)
        original(module, batch, batch_idx)

    monkeypatch.setattr(PretrainingModule, "validation_step", slow)
    result = fit(small_config(tmp_path, "trainer.num_sanity_val_steps=1"))
    assert result.progress.seconds < 1


def test_without_a_validation_split_or_a_logger(
    small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    result = fit(small_config(tmp_path, "data.validation_fraction=0", "logger=none"))
    assert result.validation is None
    assert result.statistics is not None
    assert set(lines(result.statistics)) <= set(caplog.messages)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert "fill-in" in report(result)


def test_the_examples_of_a_report_are_text_with_a_whole_word_masked(
    small_config: Config, tmp_path: Path
) -> None:
    options = ("tokenizer=wordpiece", "tokenizer.vocab_size=110", "trainer.max_steps=1")
    lines = report(fit(small_config(tmp_path, *options))).splitlines()
    examples = [line for line in lines if line.startswith("fill-in")]
    assert examples
    for example in examples:
        text, _, word = example.removesuffix(")").partition(" → ")
        assert text.count("[MASK]") == 1
        assert "##" not in text
        assert "##" not in word.rpartition("(the text has: ")[2]


@pytest.mark.slow
def test_a_run_with_no_logger_but_its_own(small_config: Config, tmp_path: Path) -> None:
    result = fit(small_config(tmp_path, "logger=csv"))
    assert "speed" in report(result)


def test_a_loss_that_is_not_a_number_ends_the_run_without_a_checkpoint_of_it(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    whole = BertForPreTraining.sums

    def broken(model: BertForPreTraining, batch: PretrainBatch) -> dict[str, Sums]:
        nonlocal calls
        calls += 1
        sums = whole(model, batch)
        if calls == 2:
            sums["mlm"] = sums["mlm"]._replace(nll=sums["mlm"].nll * float("nan"))
        return sums

    monkeypatch.setattr(BertForPreTraining, "sums", broken)
    with pytest.raises(UserError, match=r"not finite at step 2.*optim\.lr"):
        fit(small_config(tmp_path))
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("pairs", ["segment", "none"])
def test_other_kinds_of_pairs_train_and_report(
    small_config: Config, tmp_path: Path, pairs: str
) -> None:
    result = fit(small_config(tmp_path, f"pairs={pairs}"))
    lines = report(result)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert ("NSP" in lines) is (pairs != "none")
    assert ("nsp_loss" in summary["validation"]) is (pairs != "none")
    assert ("train/nsp_loss" in result.curves) is (pairs != "none")
    assert (summary["validation_baselines"]["nsp_loss"] is None) is (pairs == "none")
    assert (tmp_path / "loss.png").is_file()


def test_training_begins_at_the_floor(small_config: Config, tmp_path: Path) -> None:
    """And without that start, where every word is as likely as any."""
    losses = []
    for start in ("true", "false"):
        run = assemble(small_config(tmp_path, f"objective.unigram_bias_init={start}"), None)
        held_out = EvaluationBatches(run.corpus, "validation", run.config.batch, batch_size=1000)
        with torch.no_grad():
            sums = run.module.model.eval().sums(held_out[0])
        losses.append(sums["mlm"].nll.item() / len(held_out[0].masked_labels))
    vocab_size = run.corpus.tokenizer.get_vocab_size()
    counts = torch.bincount(
        torch.from_numpy(run.corpus.splits["train"].token_ids.astype("int64")),
        minlength=vocab_size,
    )
    floor = -((counts + 1) / (counts + 1).sum()).log()[held_out[0].masked_labels].mean().item()
    assert losses[0] == pytest.approx(floor, abs=0.25)
    assert losses[1] == pytest.approx(math.log(vocab_size), abs=0.25)
    assert losses[1] > floor + 0.3
