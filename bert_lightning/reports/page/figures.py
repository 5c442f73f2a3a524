"""The figures of a report, as SVG within its HTML: text stays text, and follows light and dark."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from bert_lightning.pictures.inline import inline
from bert_lightning.pictures.labels import learning_curve_figure
from bert_lightning.pictures.losses import joint_loss_figure, loss_figure, score_figure
from bert_lightning.reports.comparison.curves import comparison_figure
from bert_lightning.reports.comparison.ranking import Comparison
from bert_lightning.runs.curves import Curve, Curves

_PANEL = (5.0, 3.1)
"""Inches of a figure that fills a phone's width, and half of a screen's."""

_WIDE = (10.4, 4.0)
"""Inches of a figure with two panels."""


def losses(curves: Curves, summary: Mapping[str, Any]) -> list[Markup]:
    """Draws each objective's loss beside its baseline, a figure each, so that a phone shows them.

    `summary` has the baselines of a run.
    """
    names = [
        name.removeprefix("train/").removesuffix("_loss")
        for name in curves
        if name.startswith("train/") and name.endswith("_loss")
    ]
    drawn = []
    for name in names:
        own = {f"{split}/{name}_loss": curves.get(f"{split}/{name}_loss") for split in _SPLITS}
        figure = loss_figure({key: curve for key, curve in own.items() if curve}, summary)
        figure.suptitle("")
        drawn.append(inline(figure, _PANEL, f"loss of {name} by optimizer step"))
    return drawn


def joint_loss(
    curves: Curves, weights: Mapping[str, float], baselines: Mapping[str, float]
) -> Markup | None:
    """Draws the joint loss as stacked areas; None where fewer than two objectives count."""
    counted = [name for name, weight in weights.items() if weight > 0]
    if len(counted) < 2 or any(f"train/{name}_loss" not in curves for name in counted):
        return None
    figure = joint_loss_figure(curves, weights, baselines, "joint loss")
    figure.suptitle("")
    return inline(figure, _WIDE, "the joint loss by optimizer step, as stacked areas")


_SPLITS = ("train", "val")


def score(curve: Curve, baseline: float | None, name: str) -> Markup:
    """Draws a validation score over the steps."""
    return inline(score_figure(curve, baseline, name), _PANEL, f"{name} by optimizer step")


def learning_curve(results: Mapping[str, Any]) -> Markup:
    return inline(learning_curve_figure(results), (6.4, 4), "score by training examples")


def comparison(found: Comparison) -> Markup:
    """Draws the curves that runs are ranked by."""
    height = 4.2 * max(1, len(found.rankings))
    return inline(comparison_figure(found), (7.5, height), "validation curves of the runs")
