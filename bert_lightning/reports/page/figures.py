"""The figures of a report, as SVG within its HTML: text stays text, and follows light and dark."""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from bert_lightning.reports.comparison.figure import curves_figure
from bert_lightning.reports.comparison.ranking import Comparison
from bert_lightning.reports.plot import LossFigure, learning_curve_figure, loss_figure
from bert_lightning.runs.curves import Curve, Curves

_PANEL = (5.0, 3.1)
"""Inches of a figure that fills a phone's width, and half of a screen's."""


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


_SPLITS = ("train", "val")


def score(curve: Curve, baseline: float | None, name: str) -> Markup:
    """Draws a validation score over the steps."""
    figure = LossFigure(layout="constrained")
    axes = figure.subplots()
    steps, values = zip(*curve, strict=True)
    axes.plot(steps, values, "o-", label="validation", linewidth=1.4, markersize=3.5, color="C1")
    if baseline is not None:
        label = f"baseline: {baseline:.2f}"
        axes.axhline(baseline, color="gray", linestyle=":", label=label)
    axes.set(title=f"{name} of the validation split", xlabel="optimizer step", ylabel=name)
    axes.grid(alpha=0.25)
    axes.legend()
    return inline(figure, _PANEL, f"{name} by optimizer step")


def learning_curve(results: Mapping[str, Any]) -> Markup:
    return inline(learning_curve_figure(results), (6.4, 4), "score by training examples")


def comparison(found: Comparison) -> Markup:
    """Draws the curves that runs are ranked by."""
    height = 4.2 * max(1, len(found.rankings))
    return inline(curves_figure(found), (7.5, height), "validation curves of the runs")


def inline(figure: Figure, inches: tuple[float, float], label: str) -> Markup:
    """Returns a figure as an SVG element that is drawn in the colors of the page around it."""
    figure.set_size_inches(*inches)
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure; nothing refers to them
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = svg.replace("#000000", "currentColor").replace("#ffffff", "var(--page)")
    width, height = (72 * size for size in inches)
    box = (
        rf'<svg role="img" aria-label="{Markup.escape(label)}" viewBox="0 0 {width:g} {height:g}">'
    )
    return Markup(re.sub(r"<svg[^>]*>", lambda _: box, svg, count=1))
