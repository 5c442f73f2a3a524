"""The validation curves of several runs in one figure."""

from pathlib import Path

from matplotlib.axes import Axes

from bert_lightning.errors import writing
from bert_lightning.files import atomic
from bert_lightning.reports.comparison.ranking import Comparison, Ranking, Row
from bert_lightning.reports.plot import LossFigure

_MOST_COLORS = 10
"""Rows with a color of their own: the best."""


def save_curves(found: Comparison, file: Path) -> None:
    """Draws the curves of a comparison into a PNG.

    Raises:
        UserError: the file cannot be written.
    """
    with writing("the curves", file.parent, "--plot"), atomic(file) as temporary:
        curves_figure(found).savefig(temporary, format="png", dpi=130)


def curves_figure(found: Comparison) -> LossFigure:
    """Draws the curves that the runs are ranked by, a panel for each evaluation set."""
    count = max(1, len(found.rankings))
    figure = LossFigure(figsize=(8, 4.2 * count), layout="constrained")
    panels = figure.subplots(count, squeeze=False)[:, 0]
    for axes, ranking in zip(panels, found.rankings, strict=False):
        _draw(axes, ranking)
    return figure


def _draw(axes: Axes, ranking: Ranking) -> None:
    """Draws the curves of one table; seeds of the same options share a color."""
    for place, row in enumerate(ranking.rows):
        color = f"C{place}" if place < _MOST_COLORS else "lightgray"
        label = _label(row)
        if place >= _MOST_COLORS:
            rest = len(ranking.rows) - _MOST_COLORS
            label = f"{rest} more" if place == _MOST_COLORS else "_"  # not in the legend
        for run in row.runs:
            points = run.curves.get(ranking.metric, [])
            steps, values = [step for step, _ in points], [value for _, value in points]
            axes.plot(
                steps, values, "o-", color=color, label=label, linewidth=1.2, markersize=3,
                zorder=3 - place / len(ranking.rows),  # the best on top
            )  # fmt: skip
            label = "_"
    axes.set(xlabel="optimizer step", ylabel=ranking.metric, title=ranking.evaluation_set)
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small")


def _label(row: Row) -> str:
    options = [f"{name}={value}" for name, value in row.values.items()]
    several = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
    return f"{', '.join(options[:3]) or row.runs[0].folder.name}{several}"
