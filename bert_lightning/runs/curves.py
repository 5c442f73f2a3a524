"""The curves of a run: recorded, packed for a checkpoint, and kept as `metrics.csv`."""

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bert_lightning.files import write_text

Curve = list[tuple[int, float]]
"""(optimizer step, value), in the order of the steps."""
Curves = dict[str, Curve]
"""Logged values by name, such as `train/mlm_loss`."""
METRICS = "metrics.csv"
"""In every run's folder; a column for each curve, a row for each time that one was logged."""
_log = logging.getLogger(__name__)
_ROWS = {"val": 1, "probe": 2, "test": 3}
"""These values of a step have rows of their own, in this order, after the row of training."""


def record(curves: Curves, step: int, values: Mapping[str, float]) -> None:
    """Adds values by name to the curves, in place."""
    for name, value in values.items():
        curves.setdefault(name, []).append((step, value))


def pack_curves(curves: Curves) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the curves as tensors, which load at once however long they are."""
    return {
        name: (
            torch.tensor([step for step, _ in values]),
            torch.tensor([value for _, value in values], dtype=torch.float64),
        )
        for name, values in curves.items()
    }


def unpack_curves(packed: Mapping[str, tuple[Tensor, Tensor]]) -> Curves:
    return {
        name: list(zip(steps.tolist(), values.tolist(), strict=True))
        for name, (steps, values) in packed.items()
    }


class MetricsFile:
    """A new `metrics.csv`, which begins with the curves so far and grows by a line a record."""

    def __init__(self, folder: Path, curves: Curves) -> None:
        self.path = folder / METRICS
        self._curves = {name: list(curve) for name, curve in curves.items()}
        self._refused = False
        self._save(None)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row; the file is written anew where a value has no column yet.

        A row that cannot be written, as on Windows while a spreadsheet shows the file, comes with
        the next one.
        """
        known = values.keys() <= self._curves.keys()
        record(self._curves, step, values)
        self._save(self._lines({"step": step, **values}) if known and not self._refused else None)

    def _save(self, line: str | None) -> None:
        try:
            if line is None:
                self._write()
            else:
                with self.path.open("a", encoding="utf-8", newline="") as file:
                    file.write(line)
            self._refused = False
        except PermissionError as error:
            if not self._refused:
                told = "%s cannot be written: %s; its rows are kept until it can"
                _log.warning(told, self.path, error.strerror)
            self._refused = True

    def _write(self) -> None:
        rows: dict[tuple[int, int], dict[str, float]] = {}
        for name, curve in self._curves.items():
            for step, value in curve:
                place = step, _ROWS.get(name.partition("/")[0], 0)
                rows.setdefault(place, {"step": step})[name] = value
        header = {name: name for name in ("step", *self._curves)}
        write_text(self.path, self._lines(header, *(rows[place] for place in sorted(rows))))

    def _lines(self, *rows: Mapping[str, str | float]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, ["step", *self._curves], lineterminator="\n").writerows(rows)
        return text.getvalue()


def read_curves(folder: Path) -> Curves:
    """Returns the curves in a run's `metrics.csv`; none where there is no such file.

    A last line without its end, which a full disk leaves, does not count.
    """
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    curves: Curves = {}
    for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        step = int(row.pop("step"))
        record(curves, step, {name: float(value) for name, value in row.items() if value})
    return curves
