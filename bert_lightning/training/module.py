"""The LightningModule: glue between the model, the objective, the optimiser and the curves."""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L  # noqa: N812
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.data.phases import passes, phases_of
from bert_lightning.data.randomness import Stream, torch_seed
from bert_lightning.evaluation.scores import held_out_sums
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import joint_loss, objective_sums
from bert_lightning.optim import ema as averaging
from bert_lightning.optim.optimizers import build_optimizer
from bert_lightning.optim.schedules import build_schedule, follow_config
from bert_lightning.optim.time_budget import Budget
from bert_lightning.runs.clock import Clock
from bert_lightning.runs.progress import Curves, loops_at, pack_curves, unpack_curves
from bert_lightning.training.metrics import HeldOutScores, Scores, take, with_joint
from bert_lightning.training.strategies import gradient_norm, shard


class PretrainingModule(L.LightningModule):
    """Pre-trains a BERT; `curves` keeps what was logged, as (step, value) by name.

    Args:
        config: the whole run.
        vocab_size: rows of the embedding.
        steps: optimiser steps of the whole run.
        epoch_sizes: examples of the training split in each phase.
        description: what each checkpoint says of the run, in plain types.
    """

    def __init__(
        self,
        config: TrainConfig,
        vocab_size: int,
        steps: int,
        epoch_sizes: Sequence[int],
        description: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = config
        self.steps = steps
        self.epoch_sizes = epoch_sizes
        self.description = description
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.drawn_seed, Stream.weights))
            self.model = BertForPreTraining(config.model, vocab_size)
        if config.model.compile:
            self.model.compile_blocks()
        self.average: BertForPreTraining | None = None
        seconds = config.optim.time_budget_seconds
        self.budget = Budget(seconds, config.optim.decay_fraction) if seconds is not None else None
        self.train_scores, self.held_out_scores = Scores(), HeldOutScores()
        self.curves: Curves = {}
        self.clock = Clock()
        self.seconds = 0.0
        """Spent on training up to the last log, validation excluded."""
        self.pairs_seen = self.tokens_seen = 0
        self.losses: list[Tensor] = []
        """This device's parts of the loss of the step at work, one for each micro-batch."""
        self._gradient_norm: Tensor | None = None
        self.resumed_at = 0
        self.validation_due = self.finished = False
        """What the next checkpoint says: is the validation of its step to come; is it the last."""

    def configure_model(self) -> None:
        if self.config.optim.ema_decay is not None and self.average is None:
            self.average = averaging.average_of(self.model)
        if self.device_mesh is not None:  # the strategy is one that divides the model
            shard(self.model, self.device_mesh, self.config.trainer.precision)
            shard(self.evaluated, self.device_mesh, self.config.trainer.precision)

    @property
    def evaluated(self) -> BertForPreTraining:
        """The model that is validated, tested and returned: the average where one is kept."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        fused = not self.config.trainer.precision.startswith("16")
        optimizer = build_optimizer(self.model, self.config.optim, fused)
        schedule = build_schedule(optimizer, self.config.optim, self.steps, self.budget)
        self._options = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def val_loss(self) -> float | None:
        """The joint validation loss after this step, where there was one and it is finite."""
        step, loss = self.curves.get("val/loss", [(-1, 0.0)])[-1]
        return loss if step == self.global_step and math.isfinite(loss) else None

    @property
    def epochs(self) -> float:
        """Passes over the sentence pairs, up to the last log."""
        return passes(self.pairs_seen, phases_of(self.config.batch, self.steps), self.epoch_sizes)

    def gradient_norm(self) -> Tensor:
        """The norm of the gradient of all parameters, as it was before it was clipped.

        It is taken once a step: the guard, the clipping and the curve ask for it.
        """
        if self._gradient_norm is None:
            self._gradient_norm = gradient_norm(self.model)
        return self._gradient_norm

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own refuses every fused optimiser, with 16-mixed in mind.
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(self.model.parameters(), gradient_clip_val)
        else:
            nn.utils.clip_grads_with_norm_(
                self.model.parameters(), gradient_clip_val, self.gradient_norm()
            )

    def on_train_start(self) -> None:
        if self.resumed_at:
            schedule = self.trainer.lr_scheduler_configs[0].scheduler
            assert isinstance(schedule, LambdaLR)
            follow_config(schedule, self._options, self.resumed_at)
        self.clock.run()

    def on_train_batch_start(self, batch: PretrainBatch, batch_idx: int) -> None:
        # Dropout is a function of the seed, the step and the rank, as the batches are.
        self._gradient_norm = None
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        place = self.global_step, micro_batch, self.global_rank
        torch.manual_seed(torch_seed(self.config.drawn_seed, Stream.dropout, *place))

    def training_step(self, batch: PretrainBatch, batch_idx: int) -> Tensor:
        sums = objective_sums(self.model, batch)
        self.train_scores.update(sums, batch)
        loss = joint_loss(sums, batch, self.config.objective)
        self.losses.append(loss.detach())
        # Lightning divides by the accumulation and ddp by the devices; the loss is exact already.
        return loss * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def on_train_batch_end(self, outputs: Any, batch: PretrainBatch, batch_idx: int) -> None:
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches:
            return
        decay, every = self.config.optim.ema_decay, self.config.trainer.log_every_n_steps
        if decay is not None and self.average is not None:
            averaging.follow(self.average, self.model, decay, self.global_step)
        if self.global_step % every == 0 or self.global_step == self.steps:
            self._log_training()

    def _log_training(self) -> None:
        scores = take(self.train_scores)
        elapsed = self.clock.elapsed - self.seconds
        self.seconds += elapsed
        pairs, tokens = round(scores.pop("pairs")), round(scores.pop("tokens"))
        self.pairs_seen += pairs
        self.tokens_seen += tokens
        joint = with_joint(scores, self.config.objective)
        curves = {f"train/{name}": value for name, value in joint.items()}
        curves["train/gradient_norm"] = self.gradient_norm().item()
        curves["train/lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        curves["train/epoch"] = self.epochs
        curves["speed/pairs_per_second"] = pairs / elapsed
        curves["speed/tokens_per_second"] = tokens / elapsed
        curves["speed/training_seconds"] = self.seconds
        self._record(curves)

    def on_validation_start(self) -> None:
        self.clock.halt()

    def on_validation_epoch_end(self) -> None:
        self._log_held_out("val")

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.clock.run()

    def validation_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        stats = self.trainer.datamodule.token_stats  # type: ignore[attr-defined]
        self.held_out_scores.update(held_out_sums(self.evaluated, batch, stats))

    def on_test_epoch_end(self) -> None:
        self._log_held_out("test")

    def test_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def _log_held_out(self, split: str) -> None:
        scores = with_joint(take(self.held_out_scores), self.config.objective)
        curves = {f"{split}/{name}": score for name, score in scores.items()}
        self._record(curves)
        self.log_dict(curves, logger=False)  # for the callbacks that watch the validation loss

    def _record(self, curves: dict[str, float]) -> None:
        for name, value in curves.items():
            self.curves.setdefault(name, []).append((self.global_step, value))
        for logger in self.loggers:
            logger.log_metrics(curves, step=self.global_step)

    @property
    def elapsed(self) -> float:
        """Training seconds so far, validation excluded."""
        return self.clock.elapsed

    def spend(self, elapsed: float) -> None:
        """Tells the budget how long the steps took, which all devices have agreed on."""
        if self.budget is not None and self.budget.end is None:
            self.budget.settle(self.global_step, elapsed)
            self._end_as_budgeted()

    def _end_as_budgeted(self) -> None:
        if self.budget is not None and self.budget.end is not None:
            self.steps = self.trainer.fit_loop.epoch_loop.max_steps = self.budget.end

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        mine = self.train_scores.sums()
        sums = mine.new_zeros(self.trainer.world_size, len(mine))  # each rank fills its own row
        sums[self.global_rank] = mine
        progress = {
            "world_size": self.trainer.world_size,
            "accumulation": self.trainer.accumulate_grad_batches,
            "steps": self.steps,
            "budget": None if self.budget is None else [self.budget.end, self.budget.decay],
            "validation_due": self.validation_due,
            "finished": self.finished,
            "val_loss": self.val_loss,
            "seconds": self.seconds,
            "elapsed": self.clock.elapsed,
            "pairs_seen": self.pairs_seen,
            "tokens_seen": self.tokens_seen,
            "curves": pack_curves(self.curves),
            "train_sums": self.trainer.strategy.reduce(sums, reduce_op="sum").cpu(),
        }
        checkpoint["bert_lightning"] = {**self.description, "progress": progress}
        del checkpoint["loops"]  # they follow from the step
        if self.average is not None:
            averaging.put_average_first(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        averaging.put_trained_first(checkpoint, self.average is not None)
        progress = checkpoint["bert_lightning"]["progress"]
        self.resumed_at = checkpoint["global_step"]
        self.curves = unpack_curves(progress["curves"])
        self.seconds = progress["seconds"]
        self.clock = Clock(progress["elapsed"])
        self.pairs_seen, self.tokens_seen = progress["pairs_seen"], progress["tokens_seen"]
        sums = progress["train_sums"].to(self.device)
        if len(sums) == self.trainer.world_size:
            self.train_scores.set_sums(sums[self.global_rank])
        elif self.trainer.is_global_zero:
            self.train_scores.set_sums(sums.sum(0))
        if self.budget is not None and progress["budget"] is not None:
            self.budget.end, self.budget.decay = progress["budget"]
            self._end_as_budgeted()
        due = progress["validation_due"]
        checkpoint["loops"] = loops_at(self.trainer, self.resumed_at, due)
