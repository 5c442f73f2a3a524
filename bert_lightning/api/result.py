"""The result of a run, for Python and notebooks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_lightning.inference.loaded import PretrainedBert, load
from bert_lightning.runs.curves import Curves, read_curves
from bert_lightning.runs.folder import shown

if TYPE_CHECKING:
    from bert_lightning.pictures.style import Picture


@dataclass(frozen=True, eq=False, repr=False)
class RunResult:
    """The result of a run; a notebook shows its loss curves."""

    run_dir: Path
    """The run's folder, with its checkpoints, `metrics.csv` and `summary.json`."""
    bert: PretrainedBert
    """The trained model, as :func:`bert_lightning.load` loads it from the folder."""
    curves: Curves
    """Each logged value by name, such as `train/mlm_loss`, as a list of (step, value)."""
    summary: Mapping[str, Any]
    """The content of `summary.json`: scores, baselines, speed and facts of the corpus."""

    def plot(self) -> "Picture":
        """Draws the training and validation losses; `savefig` of the figure writes a file."""
        from bert_lightning.pictures.losses import loss_figure  # with matplotlib, slow to import

        return loss_figure(self.curves, self.summary)

    def __repr__(self) -> str:
        loaded = self.summary.get("loaded", self.summary)
        scores = loaded.get("validation") or self.summary.get("train", {})
        losses = [
            f"{name.removesuffix('_loss').upper()} loss {value:.3f}"
            for name, value in scores.items()
            if name.endswith("_loss")
        ]
        steps = f"{self.summary['steps']:,} steps on {self.summary['corpus']}"
        return f"RunResult({', '.join([shown(self.run_dir), steps, *losses])})"

    def _repr_png_(self) -> bytes:
        return self.plot()._repr_png_()


def read_result(run_dir: Path) -> RunResult:
    """Reads the result of a complete run from its folder.

    Raises:
        UserError: it has no usable checkpoint.
    """
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return RunResult(run_dir, load(run_dir), read_curves(run_dir), summary)
