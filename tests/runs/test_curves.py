"""The curves of a run, in a checkpoint and in metrics.csv."""

from pathlib import Path

import pytest

from bert_lightning.runs.curves import (
    METRICS,
    Curves,
    MetricsFile,
    pack_curves,
    read_curves,
    unpack_curves,
)

LOGGED = [
    (1, {"train/loss": 0.1 + 0.2, "train/lr": 1e-3}),
    (2, {"train/loss": 9.0, "train/lr": 5e-4}),
    (2, {"val/loss": 1 / 3}),
    (3, {"train/loss": float("inf"), "train/lr": 0.0}),
    (3, {"val/loss": 0.25}),
    (3, {"test/loss": 0.5}),
]


def curves_of(logged: list[tuple[int, dict[str, float]]]) -> Curves:
    curves: Curves = {}
    for step, values in logged:
        for name, value in values.items():
            curves.setdefault(name, []).append((step, value))
    return curves


def test_curves_come_back_exactly_from_a_checkpoint_and_from_the_file(tmp_path: Path) -> None:
    curves = curves_of(LOGGED)
    assert unpack_curves(pack_curves(curves)) == curves
    MetricsFile(tmp_path, curves)
    assert read_curves(tmp_path) == curves


@pytest.mark.parametrize("resumed_after", range(len(LOGGED)))
def test_a_file_that_continues_is_the_file_that_was_never_interrupted(
    tmp_path: Path, resumed_after: int
) -> None:
    whole = MetricsFile(tmp_path, {})
    for step, values in LOGGED:
        whole.add(step, values)
    text = (tmp_path / METRICS).read_text()
    assert len(text.splitlines()) == 1 + len(LOGGED)
    resumed = MetricsFile(tmp_path, curves_of(LOGGED[:resumed_after]))  # what came later is gone
    assert read_curves(tmp_path) == curves_of(LOGGED[:resumed_after])
    for step, values in LOGGED[resumed_after:]:
        resumed.add(step, values)
    assert (tmp_path / METRICS).read_text() == text


def test_a_line_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    MetricsFile(tmp_path, curves_of(LOGGED[:2]))
    path = tmp_path / METRICS
    path.write_text(path.read_text()[:-3])
    assert read_curves(tmp_path) == curves_of(LOGGED[:1])
    path.unlink()
    assert read_curves(tmp_path) == {}
