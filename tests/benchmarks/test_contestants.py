"""All contestants take steps on the same examples; the losses of two of them are comparable."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import measure
from benchmarks.contestants import Contestant, Ours, contestants
from benchmarks.padding import pad
from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.cli import app as cli
from bert_lightning.config import TrainConfig
from bert_lightning.model import compilation

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
VOCAB = 50


def batch(pairs: int) -> PretrainBatch:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 31, pairs)
    ids = rng.integers(5, VOCAB, lengths.sum())
    ends = np.cumsum(lengths)
    places = [rng.choice(n, max(1, round(n * 0.15)), replace=False) for n in lengths]
    masked = np.concatenate(
        [np.sort(p) + e - n for p, e, n in zip(places, ends, lengths, strict=True)]
    )
    return PretrainBatch(
        pack_sequences(ids, ids % 2, lengths),
        torch.from_numpy(masked),
        torch.from_numpy((ids[masked] * 7) % VOCAB),
        {"nsp": torch.from_numpy(rng.integers(0, 2, pairs))},
        {"mlm": len(masked), "nsp": pairs},
    )


def config(pairs: int) -> TrainConfig:
    made = cli.compose(ROOT / "conf", ["run_dir=.", f"batch.global_batch_size={pairs}"])
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return replace(made, model=replace(made.model, **no_dropout))


def made(name: str, pairs: int) -> Contestant:
    if name.startswith("hf"):
        pytest.importorskip("transformers")
    return contestants(config(pairs), VOCAB, CPU)[name]()


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("length", [None, 40])
def test_padded_parts_hold_every_example_once(by_length: bool, length: int | None) -> None:
    flat = batch(10)
    parts = pad(flat, 4, length, by_length, CPU)
    assert [len(part.next_labels) for part in parts] == [4, 4, 2]
    order = np.argsort(flat.sequences.lengths, kind="stable") if by_length else np.arange(10)
    labels = torch.full_like(flat.sequences.token_ids, -100)
    labels[flat.masked_positions] = flat.masked_labels
    examples = list(
        zip(
            flat.sequences.token_ids.split(flat.sequences.lengths.tolist()),
            labels.split(flat.sequences.lengths.tolist()),
            strict=True,
        )
    )
    rows = [
        (ids[real], wanted[real], real)
        for part in parts
        for ids, wanted, real in zip(
            part.token_ids, part.labels(), part.attention_mask.bool(), strict=True
        )
    ]
    for index, (ids, wanted, real) in zip(order, rows, strict=True):
        assert torch.equal(ids, examples[index][0])
        assert torch.equal(wanted, examples[index][1])
        assert length is None or len(real) == length


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hf", "hf-best", "hf-helped"])
def test_hugging_faces_first_loss_is_ours(name: str) -> None:
    pairs = 8  # one part, whose means are those of the whole batch
    ours, theirs = made("ours-fp32", pairs), made(name, pairs)
    losses = [one.step(one.prepare(batch(pairs))) for one in (ours, theirs)]
    tolerance = 1e-5 if name == "hf" else 2e-3  # the others work in bf16
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ours-bf16", "ours-fp32", "hf-best", "textbook"])
def test_each_learns_the_batch_by_heart(name: str) -> None:
    contestant = made(name, 8)
    parts = contestant.prepare(batch(8))
    losses = [contestant.step(parts) for _ in range(30)]
    assert losses[-1] < losses[0] - 1
    assert set(contestant.seconds) >= {"forward", "backward", "optimizer"}


@pytest.mark.parametrize("wanted", [None, True])
def test_ours_is_compiled_as_in_training(
    monkeypatch: pytest.MonkeyPatch, wanted: bool | None
) -> None:
    monkeypatch.setattr(compilation.shutil, "which", lambda _: "/usr/bin/g++")
    monkeypatch.setattr(compilation, "_compiled", lambda method, _: method)
    options = config(4)
    options = replace(options, model=replace(options.model, compile=wanted))
    ours = contestants(options, VOCAB, CPU)["ours-fp32"]()
    assert isinstance(ours, Ours)
    assert ours.bert.compiled == bool(wanted)
    assert ours.step(ours.prepare(batch(4))) > 0


def test_a_useful_flop_is_one_that_padding_does_not_add() -> None:
    useful = measure.forward_flops
    one = useful(config(8).model, VOCAB, np.array([10, 20]), 4).total
    assert useful(config(8).model, VOCAB, np.array([20, 20]), 4).total > one


@pytest.mark.slow
def test_the_script_measures_in_turn_and_writes_what_it_shows(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    options = ["data=builtin", "batch.global_batch_size=16", f"data.cache_dir={tmp_path}"]
    command = [sys.executable, "-m", "benchmarks.steps", *options, "--rounds", "2"]
    command += ["--only", "ours-bf16", "textbook", "--device", "cpu", "--json", str(result)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(result.read_text())
    ours, textbook = record["measured"]
    assert (ours["name"], textbook["name"]) == ("bert-lightning, bf16", "textbook")
    for one in (ours, textbook):
        assert one["name"] in done.stdout
        assert len(one["seconds"]) == len(one["losses"]) == 2
        assert one["pairs_per_second"] > 0
        assert sum(one["parts"].values()) == pytest.approx(1, abs=0.01)
        assert "aten::mm" in one["operations"]
    assert record["matrix_gflops"].keys() == {"bf16", "fp32"}
    assert record["machine"]["torch"]
