"""The numbers that a run left in its folder: its summary and its curves."""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from bert_lightning.errors import UserError
from bert_lightning.runs.curves import METRICS, Curves, read_curves

SUMMARY = "summary.json"


@dataclass(frozen=True)
class RunRecord:
    """One run's numbers."""

    folder: Path
    summary: dict[str, Any] | None
    """None where the run has not reached its end."""
    curves: Curves
    """By name, such as `val/mlm_loss`; finite values only."""
    not_finite: int | None
    """The first step at which a loss was NaN or infinite, if any."""

    def number(self, *names: str) -> float | None:
        """Returns a number of the summary: `number("validation_baselines", "mlm_loss")`."""
        value: Any = self.summary
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, int | float) else None

    def last(self, name: str) -> float | None:
        """Returns the last value of a curve; None where there is none."""
        curve = self.curves.get(name)
        return curve[-1][1] if curve else None


def read_run(path: Path) -> RunRecord:
    """Reads a run's folder, that of a checkpoint, or the newest in a folder of runs.

    Raises:
        UserError: there is no run, or its summary cannot be read.
    """
    path = path.expanduser().absolute()
    path = path.parent if path.is_file() else path
    path = path.parent if path.name == "checkpoints" else path
    if not path.is_dir():
        raise UserError(f"{path} does not exist (the working directory is {Path.cwd()})")
    folders = [path, *path.glob("*/"), *path.glob("*/*/")]
    runs = {folder: time for folder in folders if (time := _last_change(folder))}
    if not runs:
        raise UserError(
            f"{path} holds no run: neither {SUMMARY} nor {METRICS}, here and up to 2 folders "
            "below; a model in Hugging Face's format does not say how it was trained"
        )
    folder = path if path in runs else max(runs, key=lambda found: runs[found])
    curves = read_curves(folder)
    losses = [curve for name, curve in curves.items() if name.endswith("loss")]
    lost = [step for curve in losses for step, value in curve if not isfinite(value)]
    finite = {name: [p for p in curve if isfinite(p[1])] for name, curve in curves.items()}
    curves = {name: curve for name, curve in finite.items() if curve}
    return RunRecord(folder, _read_summary(folder / SUMMARY), curves, min(lost, default=None))


def _last_change(folder: Path) -> int:
    files = (folder / SUMMARY, folder / METRICS)
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def _read_summary(file: Path) -> dict[str, Any] | None:
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(summary, dict):
        raise UserError(f"{file} holds a {type(summary).__name__}, and a summary is a dict")
    return summary
