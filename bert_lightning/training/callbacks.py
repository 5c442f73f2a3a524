"""The callbacks beside the training step: curves, and the moving average of the weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from bert_lightning.config import OptimizerName
from bert_lightning.model.bert import Bert
from bert_lightning.optim.ema import average_of, follow, put_average_first
from bert_lightning.runs.curves import record
from bert_lightning.sizing.machine import peak_memory, rate_of_run
from bert_lightning.sizing.plan import GIB
from bert_lightning.training.datamodule import TimedLoader
from bert_lightning.training.metrics import (
    counts_of,
    training_flops,
    training_scores,
    with_joint,
)
from bert_lightning.training.module import TrainingModule
from bert_lightning.training.strategies import is_sharded, norm_of


class MeasureUpdates(Callback):
    """Measures by how much the weights change in the steps that are logged."""

    def __init__(self, module: TrainingModule[Any]) -> None:
        self.module = module
        self._before: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self.module.logs(trainer.global_step + 1):
            self._before = [weight.detach().clone() for weight in self.module.model.parameters()]

    def norm(self) -> float | None:
        """Returns the norm of the last update; None if it was not measured. All ranks call it."""
        before, self._before = self._before, []
        if not before:
            return None
        for old, new in zip(before, self.module.model.parameters(), strict=True):
            old.sub_(new.detach())
        return norm_of(before).item()


class RecordCurves(Callback):
    """Measures training time, and records scores and work in the curves and the loggers.

    The last step is followed by a validation, whatever the interval.

    Args:
        module: the training step.
        updates: measures the changes of the weights.
        baselines: returns those of the validation scores that have one, by name.
    """

    def __init__(
        self,
        module: TrainingModule[Any],
        updates: MeasureUpdates,
        baselines: Callable[[], Mapping[str, float]],
    ) -> None:
        self.module = module
        self.progress = module.progress
        self.updates = updates
        self.baselines = baselines
        self._waited, self._since = 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = trainer.strategy.root_device
        if trainer.is_global_zero:
            self.progress.matrix_tflops = rate_of_run(device, self.module.config.trainer.precision)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._waited, self._since = self._loader(trainer).waited, self.progress.clock.elapsed
        self.progress.clock.run()

    def _loader(self, trainer: Trainer) -> TimedLoader[Any]:
        loader = trainer.train_dataloader
        assert isinstance(loader, TimedLoader)
        return loader

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        step = trainer.global_step
        if self.module.between_steps and self.module.logs(step):
            self._record(trainer, self._training_values(trainer))
        if step >= self.progress.steps:
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
        if split == "val" and trainer.is_global_zero:
            known = self.baselines()
            values |= {f"val/{name}_baseline": known[name] for name in joint if name in known}
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
        done = counts_of(total)
        pairs, tokens = round(done.pairs), round(done.tokens)
        seconds = progress.count(pairs, tokens)
        joint = with_joint(training_scores(total, module.model.objectives), module.config.weights)
        groups, config = trainer.optimizers[0].param_groups, module.config
        by_muon = config.optim.optimizer is OptimizerName.muon and config.optim.own is None
        update, clips = self.updates.norm(), bool(config.trainer.gradient_clip_val)
        flops = training_flops(module.model, module.predicted_words, total)
        tflops = flops / (seconds * trainer.world_size) / 1e12
        matrix = progress.matrix_tflops
        return {
            **{f"train/{name}": value for name, value in joint.items()},
            "train/lr": groups[-1]["lr"],
            **({"train/matrix_lr": groups[0]["lr"]} if by_muon else {}),
            "weights/gradient_norm": module.gradient_norm().item(),
            **({"weights/update_norm": update} if update is not None else {}),
            **({"weights/clipped_fraction": done.clipped / done.steps} if clips else {}),
            "work/epoch": module.epochs,
            f"work/{module.unit}_per_second": pairs / seconds,
            "work/tokens_per_second": tokens / seconds,
            "work/tflops": tflops,
            **({"work/mfu": tflops / matrix} if matrix else {}),
            "work/peak_memory_gib": self._peak_memory(trainer),
            "work/waiting_fraction": self._waiting_fraction(trainer),
            "work/training_seconds": progress.seconds,
        }

    def _waiting_fraction(self, trainer: Trainer) -> float:
        """Returns the fraction of the time since the last log in which the ranks waited."""
        waited, now = self._loader(trainer).waited, self.progress.clock.elapsed
        fraction = (waited - self._waited) / (now - self._since)
        self._waited, self._since = waited, now
        of_rank = torch.tensor(fraction, device=trainer.strategy.root_device)
        return trainer.strategy.reduce(of_rank, reduce_op="sum").item() / trainer.world_size

    def _peak_memory(self, trainer: Trainer) -> float:
        """Returns the peak of the rank that needs most, in GiB."""
        device = trainer.strategy.root_device
        peak = torch.tensor(peak_memory(device) / GIB, device=device)
        return trainer.strategy.reduce(peak, reduce_op="max").item()


class FollowRun(Callback):
    """Lets the first process do more than train, in time that is not training time.

    Args:
        begin: called before the first step.
        renew: called after each validation, with the model that was validated; None if its weights
            are sharded.
    """

    def __init__(
        self,
        begin: Callable[[Trainer, TrainingModule[Any]], None],
        renew: Callable[[Trainer, TrainingModule[Any], Bert | None], None],
    ) -> None:
        self.begin, self.renew = begin, renew

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if trainer.is_global_zero:
            self.begin(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        if trainer.is_global_zero and not trainer.sanity_checking:
            model = pl_module.evaluated
            self.renew(trainer, pl_module, None if is_sharded(model) else model)


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
