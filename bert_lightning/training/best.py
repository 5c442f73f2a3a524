"""The model of a run that `load` takes: that of its lowest validation loss, where it has one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import lightning as L  # noqa: N812

from bert_lightning.evaluation.scores import score_batches
from bert_lightning.pretrained.checkpoints import find_checkpoints, step_of
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source
from bert_lightning.training.assembly import Assembly
from bert_lightning.training.metrics import with_joint


@dataclass(frozen=True, eq=False)
class BestModel:
    """The model of an earlier step of a run."""

    source: PretrainedSource
    test_scores: Mapping[str, float] = field(default_factory=dict)
    """Losses in nats, and accuracies; empty where the run has no test."""

    @property
    def step(self) -> int:
        return int(self.source.about["step"])


def best_model(run: Assembly, trainer: L.Trainer) -> BestModel | None:
    """Returns the model that `load` takes from a run that has ended; None if it is the last step's.

    If the run tests its last model, this one is tested as well.
    """
    config = run.config
    if not config.trainer.enable_checkpointing:
        return None
    if step_of(find_checkpoints(config.folder)[0]) == trainer.global_step:
        return None
    source = open_source(config.folder)
    if source.about["step"] == trainer.global_step:  # the best one is corrupted
        return None
    if not config.test:
        return BestModel(source)
    model = build(source).to(trainer.strategy.root_device)
    batches = run.data.evaluation_sets["test"].batches(run.data.held_out_size)
    with trainer.strategy.precision_plugin.forward_context():
        every = (batches[place] for place in range(len(batches)))
        sums = score_batches(model, every, run.data.token_stats)
    others = [name for name in model.objectives if name != "mlm"]
    scores = {name: score.item() for name, score in sums.means(others).items()}
    return BestModel(source, with_joint(scores, config.objective))
