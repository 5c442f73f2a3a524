"""The callbacks beside the training step: the curves, and the moving average of the weights."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from bert_lightning.config import OptimizerName
from bert_lightning.optim.ema import average_of, follow, put_average_first
from bert_lightning.runs.curves import record
from bert_lightning.training.metrics import training_scores, with_joint
from bert_lightning.training.module import TrainingModule


class RecordCurves(Callback):
    """Measures training time, and records scores and speed in the curves and the loggers.

    The last step is followed by a validation, whatever the interval.
    """

    def __init__(self, module: TrainingModule[Any]) -> None:
        self.module = module
        self.progress = module.progress

    def on_train_start(self, *_: Any) -> None:
        self.progress.clock.run()

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        step, every = trainer.global_step, self.module.config.trainer.log_every_n_steps
        last = step >= self.progress.steps
        if self.module.between_steps and (step % every == 0 or last):
            self._record(trainer, self._training_values(trainer))
        if last:
            trainer.should_stop = True  # after the validation that Lightning adds then

    def on_validation_start(self, *_: Any) -> None:
        self.progress.clock.halt()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = self._held_out_scores(trainer)
        if not trainer.sanity_checking:
            self._record_held_out(trainer, "val", scores)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.progress.clock.run()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._record_held_out(trainer, "test", self._held_out_scores(trainer))

    def _held_out_scores(self, trainer: Trainer) -> dict[str, float]:
        def sum_of_ranks(sums: Tensor) -> Tensor:
            return trainer.strategy.reduce(sums, reduce_op="sum")

        return self.module.held_out_scores(sum_of_ranks)

    def _record_held_out(self, trainer: Trainer, split: str, scores: dict[str, float]) -> None:
        joint = with_joint(scores, self.module.config.weights)
        values = {f"{split}/{name}": score for name, score in joint.items()}
        self._record(trainer, values)
        self.module.log_dict(values, logger=False)  # for callbacks that monitor the validation loss

    def _record(self, trainer: Trainer, values: dict[str, float]) -> None:
        record(self.progress.curves, trainer.global_step, values)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def _training_values(self, trainer: Trainer) -> dict[str, float]:
        module, progress = self.module, self.progress
        total = trainer.strategy.reduce(progress.train_sums.clone(), reduce_op="sum").cpu()
        progress.train_sums.zero_()
        pairs, tokens = round(total[-2].item()), round(total[-1].item())
        seconds = progress.count(pairs, tokens)
        scores = training_scores(total, module.model.objectives)
        joint = with_joint(scores, module.config.weights)
        groups, optim = trainer.optimizers[0].param_groups, module.config.optim
        by_muon = optim.optimizer is OptimizerName.muon and optim.own is None
        return {
            **{f"train/{name}": value for name, value in joint.items()},
            "train/gradient_norm": module.gradient_norm().item(),
            "train/lr": groups[-1]["lr"],
            **({"train/matrix_lr": groups[0]["lr"]} if by_muon else {}),
            "train/epoch": module.epochs,
            f"speed/{module.unit}_per_second": pairs / seconds,
            "speed/tokens_per_second": tokens / seconds,
            "speed/training_seconds": progress.seconds,
        }


class EndEarly(EarlyStopping):
    """Ends the run once `patience` validations did not better what judges the model.

    It counts the validations that every run of these options has, and not the one that a run adds
    which ends by `trainer.max_time`: so a resumed run ends where an uninterrupted one does.
    """

    def __init__(self, module: TrainingModule[Any], patience: int) -> None:
        super().__init__(module.progress.judged_by, patience=patience)
        self.progress = module.progress
        self._patience = patience
        self._better = module.better

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.patience = self._patience  # it may change when a run resumes

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = trainer.global_step * trainer.accumulate_grad_batches
        assert isinstance(trainer.val_check_batch, int)
        if self.progress.out_of_time and batches % trainer.val_check_batch:
            return
        ends = trainer.should_stop
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop and not ends:
            times = f"{self.wait_count} validation{'s in a row' * (self.wait_count > 1)}"
            self.progress.early_end = (
                f"no {self._better} in {times} (callbacks.early_stopping_patience={self.patience})"
                if self.wait_count
                else "the validation loss is not finite"
            )


class AverageWeights(Callback):
    """Keeps the exponential moving average of the weights in `module.average`.

    A checkpoint has the average as its `state_dict`, and the trained weights beside it.
    """

    def __init__(self, module: TrainingModule[Any], decay: float) -> None:
        self.module = module
        self.decay = decay

    def setup(self, *_: Any, **__: Any) -> None:
        if self.module.average is None:
            self.module.average = average_of(self.module.model)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self.module.between_steps and self.module.average is not None:
            follow(self.module.average, self.module.model, self.decay, trainer.global_step)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        put_average_first(checkpoint)
