"""The loss curves of a run as a figure."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from bert_lightning.runs.curves import Curves

_TITLES = {"mlm": "masked language modeling", "nsp": "next-sentence prediction"}


class LossFigure(Figure):
    """A matplotlib figure that a notebook shows, whatever its backend."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=100)
        return image.getvalue()


def loss_figure(curves: Curves, summary: Mapping[str, Any]) -> LossFigure:
    """Draws the losses of each objective of a run; `summary` is that of its `summary.json`."""
    objectives = [
        name.removeprefix("train/").removesuffix("_loss")
        for name in curves
        if name.startswith("train/") and name.endswith("_loss")
    ]
    figure = LossFigure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(objectives)), squeeze=False)[0]
    baselines = summary.get("validation_baselines", {})
    for axes, objective in zip(panels, objectives, strict=False):
        name = f"{objective}_loss"
        for split, label, style in (("train", "training", "-"), ("val", "validation", "o-")):
            if f"{split}/{name}" in curves:
                steps, values = zip(*curves[f"{split}/{name}"], strict=True)
                axes.plot(steps, values, style, label=label, linewidth=1.4, markersize=3.5)
        if (baseline := baselines.get(name)) is not None:
            label = f"baseline: {baseline:.2f}"
            axes.axhline(baseline, color="gray", linestyle=":", label=label)
        title = _TITLES.get(objective, objective)
        axes.set(title=title, xlabel="optimizer step", ylabel="loss (nats)")
        axes.grid(alpha=0.25)
        axes.legend()
    figure.suptitle(f"{summary['corpus']}: {summary['steps']:,} steps")
    return figure
