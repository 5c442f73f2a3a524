"""The loss curves of a run, and the learning curve of a study, as figures."""

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


def learning_curve_figure(results: Mapping[str, Any]) -> LossFigure:
    """Draws the main score against the number of training examples, a line for each model.

    A band reaches from the lowest to the highest of the seeds. `results` is `results.json`.
    """
    sizes, score = results["learning_curve"], results["score"]
    figure = LossFigure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(results["rows"]):
        model = row["model"]
        points = [
            (size["examples"], row["scores"][score])
            for size in sizes
            for row in size["rows"]
            if row["model"] == model
        ]
        label = "pretrained" if place == 0 and not results["random_weights"] else model
        examples = [count for count, _ in points]
        lowest, highest = ([limit(one["scores"]) for _, one in points] for limit in (min, max))
        means, color = [one["mean"] for _, one in points], f"C{place}"
        axes.plot(examples, means, "o-", color=color, label=label, linewidth=1.4, markersize=3.5)
        axes.fill_between(examples, lowest, highest, color=color, alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks([size["examples"] for size in sizes], [f"{s['examples']:,}" for s in sizes])
    axes.set_xticks([], minor=True)
    name = score.replace("_", " ")
    axes.set(title=results["task"], xlabel="training examples", ylabel=f"{name} of the test split")
    axes.grid(alpha=0.25)
    axes.legend()
    return figure
