"""The losses of a run: a panel for each objective, or the joint loss as stacked areas."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bert_lightning.errors import UserError
from bert_lightning.pictures.style import COLORS, GRAY, Picture, styled
from bert_lightning.runs.curves import Curve, Curves

_TITLES = {"mlm": "masked language modeling", "nsp": "next-sentence prediction"}
_FEW = 30
"""Points of a curve that are marked each."""
_SPLITS = {"train": "training", "val": "validation"}


@styled
def loss_figure(curves: Curves, summary: Mapping[str, Any]) -> Picture:
    """Draws the losses of each objective of a run; `summary` is that of its `summary.json`."""
    objectives = _objectives(curves, "train")
    figure = Picture(9, 3.6)
    panels = figure.subplots(1, max(1, len(objectives)), squeeze=False)[0]
    baselines = summary.get("validation_baselines", {})
    for axes, objective in zip(panels, objectives, strict=False):
        name = f"{objective}_loss"
        for split, label, style in (("train", "training", "-"), ("val", "validation", "o-")):
            if f"{split}/{name}" in curves:
                steps, values = zip(*curves[f"{split}/{name}"], strict=True)
                axes.plot(steps, values, style, label=label)
        if (baseline := baselines.get(name)) is not None:
            label = f"baseline: {baseline:.2f}"
            axes.axhline(baseline, color=GRAY, linestyle=":", label=label)
        title = _TITLES.get(objective, objective)
        axes.set(title=title, xlabel="optimizer step", ylabel="loss (nats)")
        axes.legend()
    figure.suptitle(f"{summary['corpus']}: {summary['steps']:,} steps")
    return figure


@styled
def score_figure(curve: Curve, baseline: float | None, name: str) -> Picture:
    """Draws a validation score over the steps, beside its baseline if it has one."""
    figure = Picture(5, 3.1)
    axes = figure.subplots()
    steps, values = zip(*curve, strict=True)
    axes.plot(steps, values, "o-", label="validation", color=COLORS[1])
    if baseline is not None:
        label = f"baseline: {baseline:.2f}"
        axes.axhline(baseline, color=GRAY, linestyle=":", label=label)
    axes.set(title=f"{name} of the validation split", xlabel="optimizer step", ylabel=name)
    axes.legend()
    return figure


@styled
def joint_loss_figure(
    curves: Curves, weights: Mapping[str, float], baselines: Mapping[str, float | None], title: str
) -> Picture:
    """Draws the joint loss as the sum of its objectives, each times its weight, over the steps.

    Dotted lines are the baselines of the validation split, stacked alike: where an area's upper
    edge lies below the line of its color, the model beats its baselines up to there.

    Args:
        curves: the losses, such as `train/mlm_loss` and, if there was a validation, `val/mlm_loss`.
        weights: of each objective in the joint loss; of weight 0 it is left out.
        baselines: of each loss, such as `mlm_loss`; an objective may have none.
        title: of the figure.

    Raises:
        UserError: fewer than two objectives count, or no loss was recorded.
    """
    counted = [name for name in _objectives(curves, "train") if weights.get(name, 0) > 0]
    if len(counted) < 2:
        raise UserError(
            f"{title} has {len(counted)} objective(s) in its joint loss"
            f"{f' ({counted[0]})' if counted else ''}, and this picture stacks two or more; "
            "loss.png in the run's folder shows each by itself"
        )
    splits = [split for split in _SPLITS if set(counted) <= set(_objectives(curves, split))]
    figure = Picture(5.2 * len(splits) + 0.8, 4.2)
    panels = figure.subplots(1, len(splits), sharex=True, sharey=True, squeeze=False)[0]
    stacked = counted[::-1]  # masked language modeling, by far the largest, lies on top
    for axes, split in zip(panels, splits, strict=True):
        _stack(axes, split, {name: weights[name] for name in stacked}, curves, baselines)
    panels[0].set(ylabel="joint loss (nats)", ylim=(0, None), xlim=(0, None))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(title)
    return figure


def _stack(
    axes: Axes,
    split: str,
    weights: Mapping[str, float],
    curves: Curves,
    baselines: Mapping[str, float | None],
) -> None:
    """Draws one split: the areas from below, their baselines, and the last values as text."""
    points = [dict(curves[f"{split}/{name}_loss"]) for name in weights]
    steps = sorted(set.intersection(*map(set, points)))
    losses = np.array([[values[step] for step in steps] for values in points])
    heights = losses * np.array(list(weights.values()))[:, None]
    tops, bottom, expected = np.cumsum(heights, 0), np.zeros(len(steps)), 0.0
    last = []
    for place, (name, weight) in enumerate(weights.items()):
        color, times = COLORS[place], "" if weight == 1 else f"{weight:g} × "
        label = f"{times}{name.upper()}"
        axes.fill_between(steps, bottom, tops[place], color=color, alpha=0.45, linewidth=0)
        axes.plot(
            steps, tops[place], color=color, linewidth=1.2, label=label,
            marker="o" if len(steps) <= _FEW else "",
        )  # fmt: skip
        bottom, baseline = tops[place], baselines.get(f"{name}_loss")
        last.append(f"{name.upper()} {losses[place, -1]:.2f}")
        if baseline is not None:
            expected += weight * baseline
            last[-1] += f" (baseline {baseline:.2f})"
            below = " + ".join(one.upper() for one in list(weights)[: place + 1])
            axes.axhline(
                expected, color=color, linestyle=":", linewidth=1.8, label=f"baseline, {below}"
            )
    axes.set(xlabel="optimizer step")
    axes.set_title(f"{_SPLITS[split]}, at its end:\n{', '.join(last[::-1])}", loc="left")


def _objectives(curves: Curves, split: str) -> list[str]:
    return [
        name.removeprefix(f"{split}/").removesuffix("_loss")
        for name in curves
        if name.startswith(f"{split}/") and name.endswith("_loss")
    ]
