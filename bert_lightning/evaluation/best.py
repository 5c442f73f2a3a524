"""The model of a run that `load` takes: that of its lowest validation loss, where it has one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bert_lightning.batch import PretrainBatch
from bert_lightning.evaluation.scores import score_batches
from bert_lightning.evaluation.token_stats import TokenStats
from bert_lightning.pretrained.checkpoints import find_checkpoints, step_of
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source


@dataclass(frozen=True, eq=False)
class BestModel:
    """The model of an earlier step of a run."""

    source: PretrainedSource
    test_scores: Mapping[str, float]
    """Losses in nats, and accuracies; empty where the run has no test."""

    @property
    def step(self) -> int:
        return int(self.source.about["step"])


def best_model(
    folder: Path,
    last_step: int,
    test: Iterable[PretrainBatch] | None,
    stats: TokenStats,
    device: torch.device,
) -> BestModel | None:
    """Returns the model that `load` takes from a run that has ended; None if it is the last step's.

    It is scored on the batches of `test`, on a device, if there are any.
    """
    if step_of(find_checkpoints(folder)[0]) == last_step:
        return None
    source = open_source(folder)
    if source.about["step"] == last_step:  # the best one is corrupted
        return None
    if test is None:
        return BestModel(source, {})
    model = build(source).to(device)
    sums = score_batches(model, test, stats)
    others = [name for name in model.objectives if name != "mlm"]
    return BestModel(source, {name: of.item() for name, of in sums.means(others).items()})
