"""What a complete run leaves for comparisons: its summary, and its predictions of the test split.

Arrays are kept exactly, so a comparison needs neither the model nor the data again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.files import atomic, sync

SUMMARY = "summary.json"
"""In a run's folder; written last, so that a run with it is complete."""
PREDICTIONS = "predictions.npz"
"""In a run's folder: the arrays of a record."""
_BASELINE = "baseline "


@dataclass(frozen=True, eq=False)
class Record:
    """One run on the test split."""

    summary: Mapping[str, Any]
    predicted: np.ndarray
    """`(labels,)`"""
    labels: np.ndarray
    """`(labels,)`"""
    sizes: np.ndarray
    """The labels of each example, `(examples,)`: one, or as many as it has words."""
    names: Sequence[str]
    """The classes; none for numbers."""
    baselines: Mapping[str, np.ndarray]
    """The predictions `(labels,)` of each baseline, by its name; none where they were omitted."""

    @property
    def scores(self) -> Mapping[str, float]:
        """Those of the test split, the main one first."""
        return self.summary["test"]


def write_predictions(folder: Path, record: Record) -> None:
    """Writes all of a record but its summary, atomically."""
    arrays = {
        "predicted": record.predicted,
        "labels": record.labels,
        "sizes": record.sizes,
        "names": np.array(record.names, np.str_),
        **{f"{_BASELINE}{name}": array for name, array in record.baselines.items()},
    }
    with atomic(folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        sync(file)


def is_complete(folder: Path) -> bool:
    return (folder / SUMMARY).is_file() and (folder / PREDICTIONS).is_file()


def read_record(folder: Path) -> Record:
    """Reads the record of a complete run."""
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    with np.load(folder / PREDICTIONS) as stored:
        arrays = {name: stored[name] for name in stored.files}
    baselines = {
        name.removeprefix(_BASELINE): array
        for name, array in arrays.items()
        if name.startswith(_BASELINE)
    }
    return Record(
        summary,
        arrays["predicted"],
        arrays["labels"],
        arrays["sizes"],
        arrays["names"].tolist(),
        baselines,
    )
