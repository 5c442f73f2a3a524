"""The LightningModule: one training step, from a batch to the loss and its gradient."""

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
from bert_lightning.data.randomness import Stream, torch_seed
from bert_lightning.evaluation.scores import held_out_sums
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import joint_loss, own_objectives
from bert_lightning.optim.ema import put_trained_first
from bert_lightning.optim.optimizers import build_optimizer
from bert_lightning.optim.schedules import follow_config, schedule
from bert_lightning.optim.time_budget import Budget
from bert_lightning.runs.progress import Progress, loops_at
from bert_lightning.training.metrics import HeldOutScores, Scores
from bert_lightning.training.strategies import gradient_norm, shard


class PretrainingModule(L.LightningModule):
    """Pretrains a BERT.

    Args:
        config: the whole run.
        vocab_size: rows of the embedding.
        steps: optimizer steps of the whole run.
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
        self.epoch_sizes = epoch_sizes
        self.description = description
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.drawn_seed, Stream.weights))
            own = own_objectives(config.objective)
            self.model = BertForPreTraining(config.model, vocab_size, own)
        if config.model.compile:
            self.model.compile_blocks()
        self.average: BertForPreTraining | None = None
        """The moving average of the weights, where `AverageWeights` keeps one."""
        seconds = config.optim.time_budget_seconds
        budget = Budget(seconds, config.optim.decay_fraction) if seconds is not None else None
        self.progress = Progress(steps, budget)
        names = list(self.model.objectives)
        self.train_scores, self.held_out_scores = Scores(names), HeldOutScores(names)
        self.losses: list[Tensor] = []
        """This rank's terms of the loss of the current step, one for each micro-batch."""
        self._gradient_norm: Tensor | None = None

    @property
    def evaluated(self) -> BertForPreTraining:
        """The model that is validated, tested and returned: the average where there is one."""
        return self.model if self.average is None else self.average

    def configure_model(self) -> None:
        if self.device_mesh is not None:  # the strategy is one that shards the model
            shard(self.model, self.device_mesh, self.config.trainer.precision)
            shard(self.evaluated, self.device_mesh, self.config.trainer.precision)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        fused = not self.config.trainer.precision.startswith("16")
        optimizer = build_optimizer(self.model, self.config.optim, fused)
        rates = schedule(self.config.optim, self.progress.steps, self.progress.budget)
        scheduler = LambdaLR(optimizer, rates)
        self._options = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_start(self) -> None:
        if self.progress.resumed_at:
            scheduler = self.trainer.lr_scheduler_configs[0].scheduler
            assert isinstance(scheduler, LambdaLR)
            follow_config(scheduler, self._options, self.progress.resumed_at)

    def on_train_batch_start(self, batch: PretrainBatch, batch_idx: int) -> None:
        # Dropout is a function of the seed, the step and the rank, as the batches are.
        self._gradient_norm = None
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        place = self.global_step, micro_batch, self.global_rank
        torch.manual_seed(torch_seed(self.config.drawn_seed, Stream.dropout, *place))

    def training_step(self, batch: PretrainBatch, batch_idx: int) -> Tensor:
        sums = self.model.sums(batch)
        self.train_scores.update(sums, batch)
        loss = joint_loss(sums, batch, self.config.objective)
        self.losses.append(loss.detach())
        # Lightning divides by the accumulation and DDP by the ranks; the loss is exact already.
        return loss * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def gradient_norm(self) -> Tensor:
        """The norm of the gradient of all parameters, before clipping.

        Computed once a step: the finiteness check, the clipping and the curve ask for it.
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
        # Lightning's own refuses every fused optimizer, with 16-mixed in mind.
        if not gradient_clip_val:
            return
        parameters = self.model.parameters()
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        else:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, self.gradient_norm())

    def validation_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        stats = self.trainer.datamodule.token_stats  # type: ignore[attr-defined]
        self.held_out_scores.update(held_out_sums(self.evaluated, batch, stats))

    def test_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def settle_budget(self, elapsed: float) -> None:
        """Fixes the end of a run with a time budget, once its decay is due.

        Args:
            elapsed: seconds of training, on which all ranks have agreed.
        """
        self.progress.settle_budget(self.global_step, elapsed)
        self._end_by_budget()

    def _end_by_budget(self) -> None:
        budget = self.progress.budget
        if budget is not None and budget.end is not None:
            self.trainer.fit_loop.epoch_loop.max_steps = budget.end

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trainer, own = self.trainer, self.train_scores.sums()
        sums = own.new_zeros(trainer.world_size, len(own))  # each rank fills its own row
        sums[self.global_rank] = own
        sums = trainer.strategy.reduce(sums, reduce_op="sum").cpu()
        progress = self.progress.to_checkpoint(
            self.global_step, trainer.world_size, trainer.accumulate_grad_batches, sums
        )
        checkpoint["bert_lightning"] = {**self.description, "progress": progress}
        del checkpoint["loops"]  # they follow from the step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Here rather than in a callback, as Lightning calls those after it loads the weights.
        put_trained_first(checkpoint, self.average is not None)
        step, saved = checkpoint["global_step"], checkpoint["bert_lightning"]["progress"]
        self.progress.restore(saved, step)
        self._end_by_budget()
        sums = saved["train_sums"].to(self.device)
        if len(sums) == self.trainer.world_size:
            self.train_scores.set_sums(sums[self.global_rank])
        elif self.trainer.is_global_zero:
            self.train_scores.set_sums(sums.sum(0))
        checkpoint["loops"] = loops_at(self.trainer, step, saved["validation_due"])
