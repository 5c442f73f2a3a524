"""Curves of several runs, a panel for each group that may be compared."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from bert_lightning.pictures.style import COLORS, Picture, styled
from bert_lightning.runs.curves import Curve


class Line(NamedTuple):
    """The curves of one set of options, one for each seed, in one color."""

    label: str
    curves: Sequence[Curve]


class Panel(NamedTuple):
    """Lines that may be compared, the best first."""

    title: str
    metric: str
    lines: Sequence[Line]


@styled
def curves_figure(panels: Sequence[Panel]) -> Picture:
    """Draws the curves, a panel below the other."""
    count = max(1, len(panels))
    figure = Picture(8, 4.2 * count)
    for axes, panel in zip(figure.subplots(count, squeeze=False)[:, 0], panels, strict=False):
        _draw(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    """Draws one panel; only the best lines have colors of their own."""
    most, count = len(COLORS), len(panel.lines)
    for place, line in enumerate(panel.lines):
        color = COLORS[place] if place < most else "lightgray"
        label = line.label
        if place >= most:
            label = f"{count - most} more" if place == most else "_"  # not in the legend
        for points in line.curves:
            steps, values = [step for step, _ in points], [value for _, value in points]
            axes.plot(
                steps, values, "o-", color=color, label=label, linewidth=1.2, markersize=3,
                zorder=3 - place / count,  # the best on top
            )  # fmt: skip
            label = "_"
    axes.set(xlabel="optimizer step", ylabel=panel.metric, title=panel.title)
    axes.legend(fontsize="small")
