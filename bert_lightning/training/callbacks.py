"""What accompanies the training step: curves, the average of the weights, the last validation."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from bert_lightning.data.phases import passes, phases_of
from bert_lightning.optim.ema import average_of, follow, put_average_first
from bert_lightning.runs.curves import record
from bert_lightning.training.metrics import take, with_joint
from bert_lightning.training.module import PretrainingModule


class RecordCurves(Callback):
    """Measures training time, and records scores and speed in the curves and the loggers."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        pl_module.progress.clock.run()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, PretrainingModule)
        step, every = trainer.global_step, pl_module.config.trainer.log_every_n_steps
        if ends_step(trainer, batch_idx) and (
            step % every == 0 or step == pl_module.progress.steps
        ):
            _record(trainer, pl_module, _training_values(trainer, pl_module))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        pl_module.progress.clock.halt()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record_held_out(trainer, pl_module, "val")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        if not trainer.sanity_checking:
            pl_module.progress.clock.run()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record_held_out(trainer, pl_module, "test")

    def _record_held_out(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        assert isinstance(module, PretrainingModule)
        scores = with_joint(take(module.held_out_scores), module.config.objective)
        values = {f"{split}/{name}": score for name, score in scores.items()}
        _record(trainer, module, values)
        module.log_dict(values, logger=False)  # for callbacks that monitor the validation loss


def _record(trainer: Trainer, module: PretrainingModule, values: dict[str, float]) -> None:
    record(module.progress.curves, trainer.global_step, values)
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)


def _training_values(trainer: Trainer, module: PretrainingModule) -> dict[str, float]:
    scores, progress = take(module.train_scores), module.progress
    pairs, tokens = round(scores.pop("pairs")), round(scores.pop("tokens"))
    seconds = progress.count(pairs, tokens)
    joint = with_joint(scores, module.config.objective)
    return {
        **{f"train/{name}": value for name, value in joint.items()},
        "train/gradient_norm": module.gradient_norm().item(),
        "train/lr": trainer.optimizers[0].param_groups[0]["lr"],
        "train/epoch": epochs(module),
        "speed/pairs_per_second": pairs / seconds,
        "speed/tokens_per_second": tokens / seconds,
        "speed/training_seconds": progress.seconds,
    }


def epochs(module: PretrainingModule) -> float:
    """Epochs over the sentence pairs, up to the last log."""
    progress = module.progress
    phases = phases_of(module.config.batch, progress.steps)
    return passes(progress.pairs, phases, module.epoch_sizes)


def ends_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a micro-batch is the last one of its optimizer step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class AverageWeights(Callback):
    """Keeps the exponential moving average of the weights in `module.average`.

    A checkpoint has the average as its `state_dict`, and the trained weights beside it.

    Args:
        decay: see :func:`bert_lightning.optim.ema.follow`.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, PretrainingModule)
        if pl_module.average is None:
            pl_module.average = average_of(pl_module.model)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, PretrainingModule)
        if ends_step(trainer, batch_idx) and pl_module.average is not None:
            follow(pl_module.average, pl_module.model, self.decay, trainer.global_step)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        put_average_first(checkpoint)


class ValidateAtTheEnd(Callback):
    """Has a validation follow the last step, whatever the interval."""

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, PretrainingModule)
        if trainer.global_step >= pl_module.progress.steps:
            trainer.should_stop = True
