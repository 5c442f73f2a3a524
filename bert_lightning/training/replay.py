"""Repeats one step of a run: its very batch, and the loss of each example."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import StrategyConfig, TrainConfig
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.runs.folder import read_config
from bert_lightning.runs.resume import newest_good
from bert_lightning.training.assembly import assemble
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.trainer import build_trainer, quiet
from bert_lightning.work import working


@dataclass(frozen=True)
class Example:
    """An example of a replayed step."""

    text: str
    """As the model reads it, masks included."""
    originals: dict[int, str]
    """The tokens to predict, by their places in the text: what a mask hides, a random token
    replaces, or stands there unchanged."""
    losses: dict[str, float]
    """Nats a label, by objective; an objective without a label here is absent."""

    @property
    def loss(self) -> float:
        """The sum of the losses; NaN if one is."""
        return sum(self.losses.values())

    @property
    def masked(self) -> int:
        return len(self.originals)

    @property
    def shown(self) -> str:
        """The text with the original in parentheses behind each token to predict."""
        tokens = self.text.split(" ")
        for place, original in self.originals.items():
            tokens[place] += f"({original})"
        return " ".join(tokens)


@dataclass(frozen=True)
class Replay:
    """A repeated step."""

    checkpoint: Path | None
    """Where the repeated steps began; None where that was the start of the run."""
    examples: list[Example]
    """In the order of the global batch."""


def replay(folder: Path, step: int) -> Replay:
    """Repeats the steps of a run from the nearest checkpoint up to `step`, on one device.

    The losses are those before the update of that step, without dropout.

    Raises:
        UserError: the folder holds no run, it has no such step, or its corpus has changed.
    """
    resumed = newest_good(folder, before=step)
    run = assemble(_on_one_device(read_config(folder)), resumed)
    if not 1 <= step <= (steps := run.module.progress.steps):
        raise UserError(f"{folder} has no step {step}: it has steps 1 to {steps}")
    checkpoint = resumed.path if resumed is not None else None
    trainer = build_trainer(run, step - 1, StopSignals())
    with quiet(), working("repeating steps"):
        trainer.fit(run.module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
    batch = run.data.training_batches(StepPartition(0, 1, 1))[step - 1]
    model = run.module.model.eval()
    with torch.no_grad(), trainer.strategy.precision_plugin.forward_context():
        examples = [
            _example(model, batch.part(place, place + 1), run.corpus.tokenizer)
            for place in range(len(batch.nsp_labels))
        ]
    return Replay(checkpoint, examples)


def _on_one_device(config: TrainConfig) -> TrainConfig:
    """Returns the run's config on one device, without checkpoints and validation."""
    trainer = replace(
        config.trainer,
        devices=1,
        num_nodes=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_val_batches=0,
    )
    callbacks = replace(config.callbacks, early_stopping_patience=None)
    return replace(config, trainer=trainer, callbacks=callbacks, strategy=StrategyConfig())


def _example(model: BertForPreTraining, batch: PretrainBatch, tokenizer: Tokenizer) -> Example:
    def words(ids: Tensor) -> list[str]:
        return [tokenizer.id_to_token(token) or "" for token in ids.tolist()]

    places = batch.masked_positions.tolist()
    losses = {
        name: of.nll.item() / of.labels.item()
        for name, of in model.sums(batch).items()
        if of.labels
    }
    return Example(
        " ".join(words(batch.sequences.token_ids)),
        dict(zip(places, words(batch.masked_labels), strict=True)),
        losses,
    )
