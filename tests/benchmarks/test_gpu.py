"""The script for a GPU works on a CPU in small, and keeps what a part measured before it broke."""

import json
import math
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu, gpu_parts, gpu_steps
from benchmarks.gpu_batches import ROWS, Settings, batches_of, config_of
from benchmarks.gpu_table import gpu_table

SMALL = Settings("cpu", True, None)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_batches_of_its_sizes(row: str) -> None:
    batches, vocab_size = batches_of(row, SMALL)
    config = config_of(row, SMALL)
    for batch in batches:
        lengths, longest = batch.sequences.lengths, config.batch.max_length
        assert len(lengths) == config.batch.global_batch_size == len(batch.nsp_labels)
        assert (lengths.min() == lengths.max() == longest) == ROWS[row].full
        assert lengths.max() <= longest
        ends = np.cumsum(lengths)
        masked = np.histogram(batch.masked_positions, [0, *ends])[0]
        assert (masked == np.maximum(1, np.round(0.15 * lengths))).all()
        assert len(batch.masked_positions.unique()) == batch.global_counts["mlm"]
        assert batch.sequences.token_ids.max() < vocab_size


@pytest.mark.slow
def test_steps_are_measured_in_full_and_a_way_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = next(gpu_parts.steps("base-pairs", SMALL))
    assert (measured["compiled"], measured["kernels"]) == (False, True)
    numbers = [value for value in measured.values() if isinstance(value, float)]
    assert len(numbers) == 10
    assert all(map(math.isfinite, numbers))
    seconds = measured["step_ms"] / 1000
    assert measured["pairs_per_second"] == pytest.approx(8 / seconds)
    assert measured["fraction_of_matrix_rate"] == pytest.approx(
        measured["tflops"] / measured["matrix_tflops"]
    )

    def broken(*_: Any) -> None:
        raise ArithmeticError("as the test asked")

    monkeypatch.setattr(gpu_steps, "made", broken)
    (failed,) = islice(gpu_parts.steps("base-128", SMALL), 1)
    assert failed["failed"] == "ArithmeticError: as the test asked"


def test_what_asks_for_triton_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gpu_steps.ways()
    piece = ModuleType("bert_lightning.model.a_piece")
    piece.triton_runs = lambda: True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, piece.__name__, piece)
    assert f"{piece.__name__}.triton_runs" in gpu_steps.switches()
    assert before == gpu_steps.ways()[: len(before)]
    assert len(gpu_steps.ways()) == 4
    with gpu_steps.without_kernels():
        assert not piece.triton_runs()
    assert piece.triton_runs()


def test_gradients_that_differ_are_not_close() -> None:
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.2])
    assert gpu_parts._differences((2.0, one), (2.0, one))["close"]
    assert gpu_parts._differences((2.0, other), (2.0, one))["gradient"] == pytest.approx(0.04)
    assert not gpu_parts._differences((2.0, 2 * other), (2.0, one))["close"]
    assert not gpu_parts._differences((2.1, one), (2.0, one))["close"]


@pytest.mark.slow
def test_parts_are_added_to_the_file_and_one_that_breaks_is_a_recorded_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    options = ["--device", "cpu", "--small", "--json", str(file)]
    gpu.main(["rates", *options])
    found = json.loads(file.read_text())
    assert found["rates"]["outcome"] == "done"
    assert [one["product"] for one in found["rates"]["results"]][:2] == [
        "large",
        "query, key and value",
    ]
    assert found["rates"]["command"].endswith(" ".join(["rates", *options]))
    assert "rates: done" in capsys.readouterr().out

    gpu.main(["profile", "--device", "nothing", *options[2:]])
    gpu.main(["tests", "--minutes", "0", *options])
    found = json.loads(file.read_text())
    assert [*found] == ["rates", "profile", "tests"]
    assert found["profile"]["outcome"].startswith("failed with exit code 1: ")
    assert found["tests"]["outcome"] == "not begun: --minutes 0 were over"


def test_a_part_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    found: dict[str, Any] = {"rates": {"results": []}}
    gpu.run("rates", SMALL, 0.1, found, tmp_path / "found.json")
    assert found["rates"]["outcome"] == "ended by its limit of 0 s"


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["absent"])
    assert "no part absent; choose from rates, " in capsys.readouterr().err


def test_the_table_has_each_way_that_was_measured() -> None:
    about = {"gpu": "a GPU", "torch": "2.0"}
    found: dict[str, Any] = {"rates": {"machine": about, "results": [{"tflops": 500.4}]}}
    numbers = {
        "pairs_per_second": 1234.5,
        "tokens_per_second": 9e4,
        "fraction_of_matrix_rate": 0.456,
        "peak_memory_gib": 9.96,
    }
    ours = {"contestant": "bert-lightning, bf16", "compiled": False, "kernels": True, **numbers}
    theirs = {**ours, "contestant": "Hugging Face, best", "kernels": False}
    broken = {"compiled": True, "kernels": True, "failed": "RuntimeError: no compiler"}
    found["steps-base-pairs"] = {"results": [ours, broken]}
    found["hf-base-pairs"] = {"results": [theirs]}
    found["steps-large-512"] = {"results": [{**ours, "compiled": True}]}
    lines = gpu_table(found).splitlines()
    figures = "1,234 | 90,000 | 0.46 | 10.0 |"
    assert lines[2:] == [
        f"| BERT-Base, 512 pairs of WikiText-2 | as it is | {figures}",
        f"| BERT-Base, 512 pairs of WikiText-2 | Hugging Face, best | {figures}",
        f"| BERT-Large, 64 × 512 tokens | `model.compile=true` | {figures}",
        "",
        "(a GPU, torch 2.0, bf16; means of 20 steps each; large matrix products there: "
        "500 TFLOP/s; [`benchmarks/gpu.json`](benchmarks/gpu.json))",
    ]
