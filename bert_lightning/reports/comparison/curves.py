"""The validation curves that runs are ranked by, as a picture."""

from bert_lightning.pictures.curves import Line, Panel, curves_figure
from bert_lightning.pictures.style import Picture
from bert_lightning.reports.comparison.ranking import Comparison, Ranking, Row


def comparison_figure(found: Comparison) -> Picture:
    """Draws the curves of a comparison, a panel for each evaluation set."""
    return curves_figure([_panel(ranking) for ranking in found.rankings])


def _panel(ranking: Ranking) -> Panel:
    lines = [
        Line(_label(row), [run.curves.get(ranking.metric, []) for run in row.runs])
        for row in ranking.rows
    ]
    return Panel(ranking.evaluation_set, ranking.metric, lines)


def _label(row: Row) -> str:
    options = [f"{name}={value}" for name, value in row.values.items()]
    several = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
    return f"{', '.join(options[:3]) or row.runs[0].folder.name}{several}"
