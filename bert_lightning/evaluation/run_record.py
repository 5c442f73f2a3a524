"""What a run left behind in numbers: its summary, and its curves from the logger's files."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from bert_lightning.errors import UserError

Curve = list[tuple[int, float]]
"""(optimiser step, value), in the order of the steps."""
SUMMARY, CSV, EVENTS = "summary.json", "metrics.csv", "events.out.tfevents.*"


@dataclass(frozen=True)
class RunRecord:
    """One run's numbers."""

    folder: Path
    summary: dict[str, Any] | None
    """None where the run has not come to its end."""
    curves: dict[str, Curve]
    """By name, such as `val/mlm_loss`, finite values only; a value of the summary alone is a curve
    of one point."""
    not_finite: int | None
    """The first step at which a value was none, if any."""

    def number(self, *names: str) -> float | None:
        """A number of the summary, such as `number("validation_baselines", "mlm_loss")`."""
        value: Any = self.summary
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, int | float) else None

    def last(self, name: str) -> float | None:
        curve = self.curves.get(name)
        return curve[-1][1] if curve else None


def read_run(path: Path) -> RunRecord:
    """Reads a run's folder, that of a checkpoint, or the newest in a folder of runs.

    Raises:
        UserError: there is no run, or its summary is damaged.
    """
    path = path.expanduser().absolute()
    if path.is_file():
        path = path.parent
    if path.name == "checkpoints":
        path = path.parent
    if not path.is_dir():
        raise UserError(f"{path} does not exist (the working directory is {Path.cwd()})")
    folders = [path, *path.glob("*/"), *path.glob("*/*/")]
    runs = {folder: times for folder in folders if (times := [*_times(folder)])}
    if not runs:
        raise UserError(
            f"{path} holds no run: neither {SUMMARY} nor the curves that a logger writes "
            f"({EVENTS}, {CSV}), here and up to 2 folders below; a model in Hugging Face's format "
            "says nothing of how it was trained"
        )
    folder = path if path in runs else max(runs, key=lambda found: max(runs[found]))
    summary = _read_summary(folder / SUMMARY)
    curves = {**_from_summary(summary or {}), **_read_csv(folder / CSV), **_read_events(folder)}
    lost = [step for curve in curves.values() for step, value in curve if not isfinite(value)]
    finite = {name: [p for p in curve if isfinite(p[1])] for name, curve in curves.items()}
    return RunRecord(
        folder,
        summary,
        {name: curve for name, curve in finite.items() if curve},
        min(lost, default=None),
    )


def _times(folder: Path) -> Iterator[int]:
    for pattern in (SUMMARY, CSV, EVENTS):
        yield from (file.stat().st_mtime_ns for file in folder.glob(pattern))


def _read_summary(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(summary, dict):
        raise UserError(f"{file} holds a {type(summary).__name__}, where a run's numbers belong")
    return summary


def _from_summary(summary: dict[str, Any]) -> dict[str, Curve]:
    return {
        f"{split}/{name}": [(int(summary.get("steps", 0)), value)]
        for split, key in (("train", "train"), ("val", "validation"))
        for name, value in summary.get(key, {}).items()
    }


def _read_csv(file: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                step = int(float(row.pop("step") or 0))
                for name, value in row.items():
                    if value:
                        curves.setdefault(name, []).append((step, float(value)))
    return curves


def _read_events(folder: Path) -> dict[str, Curve]:
    if not any(folder.glob(EVENTS)):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})  # 0 is all of them
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()[SCALARS]
    }
