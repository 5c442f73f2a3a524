"""The metric that runs are ranked by: its name, its direction, and its value in a run."""

import math
import re
from collections.abc import Mapping
from typing import Any

from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.runs.curves import Curves

OPTION = "optimized_metric"
_JOINT_LOSS = "val/loss"
_SPLITS = {"val": "validation", "test": "test"}
"""The names of the splits in a summary, by the prefixes of their curves."""
_FALLS = ("loss", "error", "rmse", "perplexity", "bits_per")
"""In the names of metrics of which lower values are better."""


def check_name(name: str, tests: bool) -> None:
    """Makes sure that a run may log a metric of this name; `tests` says whether it has test scores.

    Raises:
        UserError: it cannot.
    """
    if not re.fullmatch(r"(train|val|test|speed)/\w+", name):
        raise UserError(
            f"{OPTION}={name}: expects the name of a curve, such as val/loss: a column of "
            "metrics.csv in the folder of a run"
        )
    if name.startswith("test/") and not tests:
        raise UserError(f"{OPTION}={name}: the test split is not evaluated; add test=true")


def default_metric(summary: Mapping[str, Any]) -> str:
    """Returns the metric of a run that names none: a task's main score, or the joint loss."""
    if "task" in summary and summary.get("validation"):
        return f"val/{next(iter(summary['validation']))}"
    return _JOINT_LOSS


def lower_is_better(name: str) -> bool:
    return any(word in name for word in _FALLS)


def value_of(name: str, summary: Mapping[str, Any], curves: Curves) -> float:
    """Returns a metric of the model that `load` takes from a complete run; NaN where it has none.

    Curves that have no value at that model's step, such as those of speed, give their last one.
    """
    values = final_scores(summary)
    if name in values:
        return values[name]
    step = summary.get("loaded", {}).get("step", summary.get("best_step"))
    curve = curves.get(name, [])
    return next((value for at, value in curve if at == step), curve[-1][1] if curve else math.nan)


def require_logged(name: str, summary: Mapping[str, Any], curves: Curves) -> None:
    """Makes sure that a complete run has logged a metric.

    Raises:
        UserError: it has not; the message names what it has.
    """
    known = sorted({*final_scores(summary), *curves})
    if name not in known:
        raise UserError(
            f"{OPTION}={name} is not logged by this run{did_you_mean(name, known)}; it has "
            f"{', '.join(known)}"
        )


def final_scores(summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the held-out scores of the model that `load` takes from a run: `val/mlm_loss`."""
    scores = summary.get("loaded", summary)
    return {
        f"{prefix}/{name}": float(value)
        for prefix, split in _SPLITS.items()
        for name, value in (scores.get(split) or {}).items()
        if isinstance(value, int | float)
    }
