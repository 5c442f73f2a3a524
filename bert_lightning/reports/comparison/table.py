"""A comparison as lines of at most 80 columns, and as JSON."""

import math
import shlex
from collections.abc import Iterator, Sequence
from os.path import commonpath
from pathlib import Path
from textwrap import wrap
from typing import Any

from bert_lightning.pretrained.checkpoints import checkpoints_by_step
from bert_lightning.reports.comparison.found import FoundRun
from bert_lightning.reports.comparison.metric import lower_is_better
from bert_lightning.reports.comparison.ranking import Comparison, Ranking, Row
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import shown_command
from bert_lightning.terminal import WIDTH, figures, printed

_FURTHER = ("val/mlm_loss", "val/nsp_accuracy")
"""Shown beside the metric of a table of pretraining, where they fit."""
_LONGEST = 28
"""Characters of a value."""
_MOST_ROWS = 40
_INDENT = 12


def lines(found: Comparison) -> Iterator[str]:
    """Yields the tables, the runs that are in none of them, and how to load the best."""
    if len(found.rankings) > 1:
        yield from _note(
            "note",
            f"the runs have {len(found.rankings)} evaluation sets: scores compare within a table, "
            "and not between tables",
        )
    for ranking in found.rankings:
        yield ""
        yield from _table(ranking)
    if found.others:
        yield ""
    shared = _shared([run for run, _ in found.others])
    for run, why in found.others:
        yield from _note("not ranked", f"{_name(run, shared)}: {why}")
    if not found.rankings:
        yield from _note("best", "none: no run is complete and has a score")


def as_json(found: Comparison) -> dict[str, Any]:
    """Returns a comparison in plain values."""
    return {
        "tables": [
            {
                "metric": ranking.metric,
                "lower_is_better": lower_is_better(ranking.metric),
                "evaluation_set": ranking.evaluation_set,
                "options": [*ranking.options],
                "remarks": [*ranking.remarks],
                "rows": [_row_as_json(row) for row in ranking.rows],
            }
            for ranking in found.rankings
        ],
        "not_ranked": [{"run": str(run.folder), "why": why} for run, why in found.others],
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    return {
        "options": dict(row.values),
        "mean": row.mean,
        "standard_deviation": row.deviation,
        "runs": [
            {
                "run": str(run.folder),
                "seed": run.options.get("seed"),
                "score": score,
                "remarks": [*run.remarks],
            }
            for run, score in zip(row.runs, row.scores, strict=True)
        ],
    }


def _table(ranking: Ranking) -> Iterator[str]:
    runs = [run for row in ranking.rows for run in row.runs]
    order = "lowest" if lower_is_better(ranking.metric) else "highest"
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    yield f"{count} by {ranking.metric}, the {order} first; {ranking.evaluation_set}"
    rows = ranking.rows[:_MOST_ROWS]
    columns, left_out = _columns(ranking, rows)
    cells = [[column[place + 1] for column in columns] for place in range(len(rows))]
    yield printed(figures([column[0] for column in columns], cells))
    if len(ranking.rows) > len(rows):
        yield from _note("left out", f"{len(ranking.rows) - len(rows)} rows; --json has all")
    if left_out:
        yield from _note("left out", f"{', '.join(left_out)}, which differ too; --json has all")
    for remark in ranking.remarks:
        yield from _note("note", remark)
    shared = _shared(runs)
    for run in runs:
        for remark in run.remarks:
            yield from _note("note", f"{_name(run, shared)} {remark}")
    best = shown(ranking.best.folder)
    yield f"best        {best}"
    if not checkpoints_by_step(ranking.best.folder):
        yield from _note("load", "it has no checkpoint, and no model to load")
        return
    if ranking.best.command == "train":
        yield f'load        {shown_command("fill-mask")} {shlex.quote(best)} "the [MASK] is new"'
    yield f"in Python   bert_lightning.load({best!r})"


def _columns(ranking: Ranking, rows: Sequence[Row]) -> tuple[list[list[str]], list[str]]:
    """Returns the columns that fit, header first, and the names of the options that do not."""
    runs = [run for row in rows for run in row.runs]
    several = len({run.options.get("seed") for run in runs}) > 1
    score = [ranking.metric + " ± sd" * several, *(_spread(row) for row in rows)]
    fixed = [score]
    if several:
        fixed.append(["seeds", *(str(len(row.runs)) for row in rows)])
    options = [[name, *(_value(row.values[name]) for row in rows)] for name in ranking.options]
    named = []
    if not all(run.trial for run in runs):  # of a sweep, the options tell its trials apart
        shared = _shared(runs)
        named = [["run", *(_cut(_name(row.runs[0], shared)) for row in rows)]]
    if not options and not named:
        named = [["options", *("all alike" for _ in rows)]]
    kept, left_out = [*named], list[list[str]]()
    for option in options:
        fits = _width([*kept, option, *fixed]) <= WIDTH
        (kept if fits else left_out).append(option)
    further = _FURTHER if ranking.best.command == "train" else _of_test(ranking)
    for metric in further:
        values = [row.mean_of(metric) for row in rows]
        column = [metric, *(_number(value) for value in values)]
        known = metric != ranking.metric and not all(map(math.isnan, values))
        if known and _width([*kept, *fixed, column]) <= WIDTH:
            fixed.append(column)
    return [*kept, *fixed], [option[0] for option in left_out]


def _of_test(ranking: Ranking) -> tuple[str, ...]:
    """Returns the same score of the test split, which a run of fine-tuning always has."""
    return (f"test/{ranking.metric.partition('/')[2]}",)


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + 2 * (len(columns) - 1)


def _spread(row: Row) -> str:
    deviation = row.deviation
    return _number(row.mean) + ("" if deviation is None else f" ± {deviation:.4f}")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return _cut(f"{value:g}" if isinstance(value, float) else str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"


def _shared(runs: Sequence[FoundRun]) -> Path:
    """Returns the folder that all of these lie in."""
    folders = [str(run.folder.parent) for run in runs]
    return Path(commonpath(folders)) if folders else Path()


def _name(run: FoundRun, shared: Path) -> str:
    return str(run.folder.relative_to(shared))


def _note(label: str, text: str) -> Iterator[str]:
    """Yields a labelled line, or several; a path that is longer than a line stays in one piece."""
    pieces = wrap(text, WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False)
    for place, piece in enumerate(pieces):
        yield f"{label if not place else '':<{_INDENT}}{piece}"
