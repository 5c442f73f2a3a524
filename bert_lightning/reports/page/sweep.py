"""The page of a sweep: its runs ranked, their curves, and those that cannot be ranked."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bert_lightning.reports.comparison.found import FoundRun, find_runs
from bert_lightning.reports.comparison.metric import final_scores, lower_is_better
from bert_lightning.reports.comparison.ranking import Comparison, Ranking, Row, compare
from bert_lightning.reports.page import figures
from bert_lightning.reports.page.options import shown
from bert_lightning.reports.page.write import PAGE, render
from bert_lightning.runs.launched import TRIALS

_MOST_METRICS = 3
"""Held-out scores beside the one that ranks."""


def write_page(folder: Path) -> None:
    """Writes the page of a sweep from the folders of its trials."""
    folder = folder.absolute()
    found = compare(find_runs([folder]))
    runs = [run for ranking in found.rankings for row in ranking.rows for run in row.runs]
    content = {
        "rankings": [_table(ranking, folder) for ranking in found.rankings],
        "others": [{**_link(run, folder), "why": why} for run, why in found.others],
        "remarks": [(_link(run, folder), remark) for run in runs for remark in run.remarks],
        "curves": figures.comparison(found) if _has_curves(found) else None,
        "total": len(runs) + len(found.others),
    }
    render(folder, "sweep.html", content)


def is_sweep(folder: Path) -> bool:
    return (folder / TRIALS).is_file()


def _has_curves(found: Comparison) -> bool:
    return any(
        run.curves.get(ranking.metric)
        for ranking in found.rankings
        for row in ranking.rows
        for run in row.runs
    )


def _table(ranking: Ranking, folder: Path) -> dict[str, Any]:
    metrics = [*_further(ranking)]
    seeds = {run.options.get("seed") for row in ranking.rows for run in row.runs}
    best = ranking.best
    return {
        "metric": ranking.metric,
        "order": "lowest" if lower_is_better(ranking.metric) else "highest",
        "evaluation_set": ranking.evaluation_set,
        "options": [*ranking.options],
        "several": len(seeds) > 1,
        "metrics": metrics,
        "rows": [_row(row, ranking.options, metrics, folder) for row in ranking.rows],
        "remarks": [*ranking.remarks],
        "count": sum(len(row.runs) for row in ranking.rows),
        "best": _link(best, folder),
        "best_options": {name: shown(value) for name, value in ranking.rows[0].values.items()},
        "load": f"bert_lightning.load({str(best.folder)!r})",
        "fill": f'bert-lightning fill-mask {shlex.quote(str(best.folder))} "the [MASK] is new"',
        "is_pretraining": best.command == "train",
    }


def _further(ranking: Ranking) -> Iterator[str]:
    """Yields other held-out scores that each run has, those of the test split last."""
    shared: Sequence[str] = [*final_scores(ranking.best.summary)]
    for row in ranking.rows:
        for run in row.runs:
            shared = [name for name in shared if name in final_scores(run.summary)]
    better_known = {name.removesuffix("_known") for name in shared if name.endswith("_known")}
    left_out = {ranking.metric, *better_known}
    named = [n for n in shared if n not in left_out and not n.endswith("_fraction")]
    yield from named[:_MOST_METRICS]


def _row(row: Row, options: Sequence[str], metrics: Sequence[str], folder: Path) -> dict[str, Any]:
    return {
        "values": [shown(row.values[name]) for name in options],
        "mean": row.mean,
        "deviation": row.deviation,
        "metrics": [row.mean_of(name) for name in metrics],
        "runs": [
            {**_link(run, folder), "seed": run.options.get("seed"), "score": score}
            for run, score in zip(row.runs, row.scores, strict=True)
        ],
    }


def _link(run: FoundRun, folder: Path) -> dict[str, str | None]:
    """Returns the name of a run, and the way to its page where it has one."""
    place = run.folder.relative_to(folder).as_posix()
    return {"name": place, "page": f"{place}/{PAGE}" if (run.folder / PAGE).is_file() else None}
