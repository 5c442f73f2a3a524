"""One step of a run made again: its very batch, and what the model makes of each example."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.config import StrategyConfig, TrainConfig
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.data.batches import StepPartition, TrainingBatches
from bert_lightning.errors import UserError
from bert_lightning.model.objective import objective_sums
from bert_lightning.runs.folder import read_config
from bert_lightning.runs.resume import newest_good
from bert_lightning.training.assembly import assemble
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.trainer import build_trainer


@dataclass(frozen=True)
class Example:
    """An example of a replayed step."""

    text: str
    """As the model read it, masks included."""
    masked: int
    mlm_loss: float
    """Nats a masked token."""
    nsp_loss: float | None
    """Nats; None where there is no pair."""

    @property
    def loss(self) -> float:
        """Both losses; NaN where one is."""
        return self.mlm_loss + (self.nsp_loss or 0.0)


@dataclass(frozen=True)
class Replay:
    """What became of a step."""

    checkpoint: Path | None
    """From where the steps were made again; None where it was from the start."""
    examples: list[Example]
    """In the order of the global batch."""


def replay(run: Path, step: int) -> Replay:
    """Makes the steps from the nearest checkpoint up to `step` again, on one device.

    The losses are those before the update of that step, without dropout.

    Raises:
        UserError: the folder holds no run, it has no such step, or its corpus is not what it was.
    """
    assembly = assemble(_quiet(read_config(run)), earlier := newest_good(run, before=step))
    config, module, corpus = assembly.config, assembly.module, assembly.corpus
    if not 1 <= step <= module.steps:
        raise UserError(f"{run} has no step {step}: it has steps 1 to {module.steps}")
    trainer = build_trainer(
        config, assembly.devices, assembly.partition, step - 1, None, StopSignals(), None
    )
    trainer.fit(
        module,
        datamodule=assembly.data,
        ckpt_path=earlier.path if earlier is not None else None,
        weights_only=True,
    )
    whole = StepPartition(rank=0, world_size=1, accumulation=1)
    batches = TrainingBatches(corpus, config.batch, config.drawn_seed, whole, module.steps)
    batch = batches[step - 1]
    with torch.no_grad(), trainer.strategy.precision_plugin.forward_context():
        examples = [
            _example(module, batch.part(place, place + 1), corpus.tokenizer)
            for place in range(len(batch.nsp_labels))
        ]
    return Replay(earlier.path if earlier is not None else None, examples)


def _quiet(config: TrainConfig) -> TrainConfig:
    """The run's config on one device, writing nothing."""
    trainer = replace(
        config.trainer,
        devices=1,
        num_nodes=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        max_time=None,
    )
    return replace(config, trainer=trainer, strategy=StrategyConfig(), logger=None)


def _example(module: PretrainingModule, batch: PretrainBatch, tokenizer: Tokenizer) -> Example:
    sums = objective_sums(module.model.eval(), batch)
    masked = len(batch.masked_labels)
    return Example(
        text=" ".join(
            tokenizer.id_to_token(token) or "" for token in batch.sequences.token_ids.tolist()
        ),
        masked=masked,
        mlm_loss=sums.mlm_nll.item() / max(1, masked),
        nsp_loss=sums.nsp_nll.item() if batch.nsp_labels.item() != IGNORE_INDEX else None,
    )
