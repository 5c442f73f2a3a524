"""What runs left behind, read and compared."""

import csv
from pathlib import Path
from typing import Any, Protocol

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from bert_lightning.runs.curves import Curves


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step={step:06d}.ckpt"


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Every number is equal to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, values in enumerate(zip(one, other, strict=True)):
            assert_same(*values, f"{where}/{place}")
    elif isinstance(one, Tensor):
        # An accuracy that is not counted is NaN, which equals no number.
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=where)
    else:
        assert one == other, where


def state(path: Path, validated: bool = True) -> dict[str, Any]:
    """What a checkpoint holds of the training, without clocks and what says how it was begun.

    `validated=False` leaves out the validation after its step, as one that was stopped lacks it.
    """
    found = read(path)
    progress, names = found["bert_lightning"]["progress"], ["seconds", "elapsed"]
    if not validated:
        names += ["validation_due", "val_loss"]
    for name in names:
        del progress[name]
    left_out = ("work/",) if validated else ("work/", "val/")
    for name in [name for name in progress["curves"] if name.startswith(left_out)]:
        del progress["curves"][name]
    del found["bert_lightning"]["config"]
    return found


class HasCurves(Protocol):
    """The result of any run."""

    @property
    def curves(self) -> Curves: ...


def curves(result: HasCurves) -> dict[str, Any]:
    return {name: curve for name, curve in result.curves.items() if not name.startswith("work/")}


def logged(run: Path, logger: str) -> dict[str, list[tuple[int, float]]]:
    if logger == "csv":
        with (run / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        return {
            name: [(int(row["step"]), float(row[name])) for row in rows if row[name]]
            for name in rows[0]
        }
    events = EventAccumulator(str(run))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}
