"""Parallel coordinates: a line for each trial of a search, an axis for each of its parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps

from bert_lightning.pictures.style import Picture, styled

_TICKS = 5
_LIGHTEST = 0.85
"""Of the colors, in which the worst trial is drawn; the best is dark."""
_MOST_LABELS = 12
"""Choices that are named on an axis."""


@dataclass(frozen=True)
class Axis:
    """A parameter."""

    name: str
    log: bool = False
    choices: Sequence[str] | None = None
    """None of a number."""


@dataclass(frozen=True)
class Line:
    """A trial that has a score."""

    values: Sequence[Any]
    """One for each axis."""
    score: float
    is_complete: bool


@styled
def parallel_figure(
    axes: Sequence[Axis], lines: Sequence[Line], metric: str, lower: bool
) -> Picture:
    """Draws the trials of a search, the best darkest; those that were paused are dashed.

    The last axis is the metric; `lower` says whether a lower one is better. Trials that are far
    worse than the others are drawn at its end.
    """
    scores = np.array([line.score for line in lines])
    best, worst = _span(scores if lower else -scores)
    low, high = (best, worst) if lower else (-worst, -best)
    shades = colormaps["viridis"]
    figure = Picture(2.2 * len(axes) + 2.6, 4.4)
    panel = figure.add_subplot()
    panel.grid(False)
    columns = [_places(axis, [line.values[at] for line in lines]) for at, axis in enumerate(axes)]
    columns.append(np.clip((scores - low) / (high - low), 0, 1))
    order = sorted(range(len(lines)), key=lambda at: scores[at], reverse=lower)
    for rank, at in enumerate(order):
        panel.plot(
            range(len(columns)), [column[at] for column in columns],
            color=shades(_LIGHTEST * float(columns[-1][at] if lower else 1 - columns[-1][at])),
            linestyle="-" if lines[at].is_complete else (0, (4, 2)),
            linewidth=2.2 if lines[at].is_complete else 1.1,
            marker="o", markersize=3.5, zorder=2 + rank / len(order),
        )  # fmt: skip
    for place, axis in enumerate(axes):
        _draw_axis(panel, place, axis, [line.values[place] for line in lines])
    for value in np.linspace(low, high, _TICKS):
        beyond = ""
        if value in (low, high):  # where trials lie that are beyond it
            beyond = "≥ " if scores.max() > high and value == high else beyond
            beyond = "≤ " if scores.min() < low and value == low else beyond
        _label(panel, len(axes), (value - low) / (high - low), f"{beyond}{value:.4f}")
    panel.vlines(range(len(columns)), 0, 1, color="black", linewidth=0.8, zorder=1)
    panel.set_xticks(range(len(columns)), [*(axis.name for axis in axes), metric])
    panel.set(xlim=(-0.35, len(axes) + 0.5), ylim=(-0.04, 1.04), yticks=[])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    _describe(panel, lines, metric, lower)
    return figure


def _describe(panel: Any, lines: Sequence[Line], metric: str, lower: bool) -> None:
    complete = sum(line.is_complete for line in lines)
    paused = len(lines) - complete
    parts = [f"{complete} complete (solid)"] * bool(complete)
    parts += [f"{paused} paused (dashed)"] * bool(paused)
    order = "lowest" if lower else "highest"
    panel.set_title(
        f"Trials: {', '.join(parts)}; the darkest has the {order} {metric}", fontsize=10
    )


def _span(badness: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the metric's axis: the best, and at most as far above the median twice.

    A trial that diverges would otherwise press all others into one place.
    """
    best, middle, worst = float(badness.min()), float(np.median(badness)), float(badness.max())
    end = min(worst, middle + 2 * (middle - best)) if middle > best else worst
    return best, end if end > best else best + 1.0


def _places(axis: Axis, values: Sequence[Any]) -> np.ndarray:
    """Returns where values lie on an axis, from 0 to 1."""
    if axis.choices is not None:
        return np.array([_place_of_choice(axis.choices, value) for value in values])
    numbers = np.array([float(value) for value in values])
    numbers = np.log(numbers) if axis.log else numbers
    low, high = numbers.min(), numbers.max()
    return (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)


def _place_of_choice(choices: Sequence[str], value: str) -> float:
    return [*choices].index(value) / (len(choices) - 1) if len(choices) > 1 else 0.5


def _draw_axis(panel: Any, place: int, axis: Axis, values: Sequence[Any]) -> None:
    if axis.choices is not None:
        for choice in axis.choices[:_MOST_LABELS]:
            _label(panel, place, _place_of_choice(axis.choices, choice), choice)
        return
    low, high = float(min(values)), float(max(values))
    if low == high:
        _label(panel, place, 0.5, f"{low:g}")
        return
    for at in np.linspace(0, 1, _TICKS):
        ratio = math.log(high / low) if axis.log else 0.0
        value = low * math.exp(ratio * at) if axis.log else low + (high - low) * at
        _label(panel, place, at, f"{value:.3g}")


def _label(panel: Any, place: float, height: float, text: str) -> None:
    panel.annotate(
        text, (place, height), (5, 0), textcoords="offset points", fontsize=8, va="center",
        zorder=5, bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.6, "edgecolor": "none"},
    )  # fmt: skip
