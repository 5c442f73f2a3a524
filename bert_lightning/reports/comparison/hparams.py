"""What TensorBoard's HParams tab shows of a complete run: its options beside its final scores."""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import FileWriter
from torch.utils.tensorboard.summary import hparams, scalar

from bert_lightning.config import RunConfig
from bert_lightning.reports.comparison.metric import final_scores
from bert_lightning.reports.comparison.options import compared_options, plain_options

_SUFFIX = ".hparams"
"""Of the event file, so that a run that is trained longer replaces it."""
_DETAILS = ("_known", "_fraction")
"""Scores that are not shown there: of the first five columns, each has to matter."""
_GROUP = "hparam"
"""The group of the scores, which the tab shows before all curves, as it sorts by name."""


def write_hparams(config: RunConfig, summary: Mapping[str, Any]) -> None:
    """Writes a run's options and its held-out scores beside its curves.

    Every run writes all options that may tell runs apart: TensorBoard finds those that differ among
    the runs that it shows, and lists them first. The file holds no list of options and scores for
    the whole experiment, which TensorBoard would take from one run for all of them.
    """
    for earlier in config.folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
        earlier.unlink()
    options = plain_options(config)
    shown = {name: _shown(options[name]) for name in compared_options(type(config))}
    _, *begin_and_end = hparams(shown, {})
    scores = [
        scalar(f"{_GROUP}/{name.replace('/', '_')}", value)
        for name, value in final_scores(summary).items()
        if not name.endswith(_DETAILS)
    ]
    file = FileWriter(str(config.folder), filename_suffix=_SUFFIX)
    for part in (*begin_and_end, *scores):
        file.add_summary(part, summary["steps"])
    file.close()


def _shown(value: Any) -> str | float:
    """Returns a value as TensorBoard takes it: a number, or text."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, int | float | str) else str(value)
