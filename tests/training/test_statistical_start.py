"""Weights that start from the statistics of the training text."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from left_behind import assert_same, checkpoint, state

from bert_lightning.config import TrainConfig
from bert_lightning.training import assembly
from bert_lightning.training.assembly import assemble
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]
WORDS = "encoder.embeddings.word.weight"


def test_words_with_neighbors_start_from_them_and_all_else_as_before(
    small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plain, informed = (
        assemble(small_config(tmp_path, f"model.cooccurrence_init={value}"), None)
        for value in ("false", "true")
    )
    before, after = (run.module.model.state_dict() for run in (plain, informed))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {WORDS, "mlm_head.decoder.weight"}

    split = informed.corpus.splits["train"]
    long = np.diff(split.sentence_starts) > 1
    seen = np.unique(split.token_ids[np.repeat(long, np.diff(split.sentence_starts))])
    rows = (before[WORDS] != after[WORDS]).any(1)
    assert set(rows.nonzero().flatten().tolist()) <= set(seen.tolist())
    assert rows.sum() > 0.9 * len(seen)
    spread = after[WORDS][rows].square().mean().sqrt() / informed.config.model.initializer_range
    assert 1.5 < spread <= 2.01  # the text is so small that it has few directions
    assert "pairs of neighbors" in caplog.text


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_weights_of_other_types_start_from_neighbors_too(
    small_config: Config, tmp_path: Path, precision: str
) -> None:
    result = fit(small_config(tmp_path, f"trainer.precision={precision}", "trainer.max_steps=2"))
    assert result.steps == 2


def test_it_takes_training_time(small_config: Config, tmp_path: Path) -> None:
    plain, informed = (
        assemble(small_config(tmp_path, f"model.cooccurrence_init={value}"), None)
        for value in ("false", "true")
    )
    assert plain.module.progress.clock.elapsed == 0
    assert informed.module.progress.clock.elapsed > 0


def test_the_speed_of_the_first_steps_is_that_of_steps(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "start_from_statistics", lambda *_: 1000.0)
    result = fit(small_config(tmp_path))
    assert result.curves["work/training_seconds"][0][1] > 1000
    assert result.curves["work/pairs_per_second"][0][1] > 32 / 500


@pytest.mark.slow
def test_a_resumed_run_keeps_its_vectors(small_config: Config, tmp_path: Path) -> None:
    options = ("model.cooccurrence_init=true", "trainer.max_steps=4")
    options += ("callbacks.every_n_train_steps=2",)
    whole, part = tmp_path / "whole", tmp_path / "part"
    fit(small_config(whole, *options))
    shutil.copytree(whole, part)
    for path in part.glob("checkpoints/step=000004*"):
        path.unlink()
    fit(small_config(part, *options, f"resume={part}"))
    assert_same(state(checkpoint(part, 4)), state(checkpoint(whole, 4)))
