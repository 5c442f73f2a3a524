"""The figure of a run's losses."""

from typing import Any

import pytest

from bert_lightning.data.baselines import Baselines
from bert_lightning.pictures.losses import loss_figure

CURVES = {
    "train/mlm_loss": [(1, 7.0), (2, 6.0)],
    "val/mlm_loss": [(2, 6.5)],
    "train/nsp_loss": [(1, 0.8), (2, 0.7)],
}


def summary(baselines: Baselines | None) -> dict[str, Any]:
    scores = {} if baselines is None else {"validation_baselines": baselines._asdict()}
    return {"corpus": "notes", "steps": 2, **scores}


def test_each_objective_has_a_panel_with_its_curves_and_baseline() -> None:
    mlm, nsp = loss_figure(CURVES, summary(Baselines(6.69, 0.07, 0.69, 0.5, 0.05))).axes
    lines = {str(line.get_label()): line for line in mlm.lines}
    assert list(lines) == ["training", "validation", "baseline: 6.69"]
    assert lines["training"].get_xydata().tolist() == [[1, 7.0], [2, 6.0]]
    assert lines["validation"].get_xydata().tolist() == [[2, 6.5]]
    assert [line.get_label() for line in nsp.lines] == ["training", "baseline: 0.69"]


@pytest.mark.parametrize("baselines", [None, Baselines(6.69, 0.07, None, None, 0.05)])
def test_without_pairs_there_is_one_panel(baselines: Baselines | None) -> None:
    curves = {name: values for name, values in CURVES.items() if "nsp" not in name}
    figure = loss_figure(curves, summary(baselines))
    assert [axes.get_title() for axes in figure.axes] == ["masked language modeling"]
    assert len(figure.axes[0].lines) == (2 if baselines is None else 3)
