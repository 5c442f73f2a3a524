"""The LightningModule: one training step, from a batch to the loss and its gradient."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Generic

import lightning as L  # noqa: N812
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.data.phases import passes, phases_of
from bert_lightning.data.randomness import Stream, torch_seed
from bert_lightning.evaluation.scores import HeldOutSums, held_out_sums
from bert_lightning.model.bert import BertForPreTraining, Model
from bert_lightning.model.kernels.trial import try_kernels
from bert_lightning.model.objective import joint_loss, own_objectives
from bert_lightning.optim.ema import put_trained_first
from bert_lightning.optim.optimizers import build_optimizer
from bert_lightning.optim.schedules import follow_config, schedule
from bert_lightning.optim.time_budget import Budget
from bert_lightning.pretrained.teachers import Teachers
from bert_lightning.runs.progress import Progress, loops_at
from bert_lightning.training.metrics import add_counts, add_sums, no_sums
from bert_lightning.training.strategies import gradient_norm, shard


class TrainingModule(L.LightningModule, ABC, Generic[Model]):
    """Trains a model by the joint loss of its objectives.

    Args:
        config: the whole run.
        model: the model, with its initial weights.
        steps: optimizer steps of the whole run.
        description: what each checkpoint says of the run, in plain types.
    """

    title: str
    """What it does, in one word."""
    unit: str
    """What its examples are called, in the plural."""
    better = "lower loss"
    """What a better model has, as early stopping says it."""
    can_be_replayed = False
    """Whether `replay` shows the examples of a step."""

    def __init__(
        self, config: RunConfig, model: Model, steps: int, description: dict[str, Any]
    ) -> None:
        super().__init__()
        self.config = config
        self.description = description
        self.model = model
        self.average: Model | None = None
        """The moving average of the weights, where `AverageWeights` keeps one."""
        seconds = config.optim.time_budget_seconds
        budget = Budget(seconds, config.optim.decay_fraction) if seconds is not None else None
        self.progress = Progress(steps, no_sums(len(self.model.objectives)), budget)
        self.losses: list[Tensor] = []
        """This rank's terms of the loss of the current step, one for each micro-batch."""
        self._gradient_norm: Tensor | None = None

    @property
    def predicted_words(self) -> int:
        """The words among which a masked token is predicted, where one is."""
        return self.model.encoder.embeddings.word.num_embeddings

    def logs(self, step: int) -> bool:
        """Returns whether the scores of training are logged after a step."""
        return step % self.config.trainer.log_every_n_steps == 0 or step >= self.progress.steps

    @property
    def between_steps(self) -> bool:
        """Whether no micro-batch of the next step is computed yet."""
        return not self.losses

    @property
    @abstractmethod
    def epochs(self) -> float:
        """The epochs over the training examples, up to the last log."""

    @abstractmethod
    def held_out_scores(self, sum_of_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Returns the scores of the held-out batches since the last call, those of all ranks."""

    @property
    def evaluated(self) -> Model:
        """The model that is validated, tested and returned: the average where there is one."""
        return self.model if self.average is None else self.average

    def configure_model(self) -> None:
        if self.device_mesh is not None:  # the strategy is one that shards the model
            for model in (self.model, self.evaluated):
                shard(model, self.device_mesh, self.config.trainer.precision)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        config, progress = self.config.optim, self.progress
        fused = not self.config.trainer.precision.startswith("16")
        optimizer = build_optimizer(self.model, config, fused)
        rates = LambdaLR(optimizer, schedule(config, progress.steps, progress.budget))
        self._options = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def on_fit_start(self) -> None:
        try_kernels(self.device)

    def on_train_start(self) -> None:
        self.progress.train_sums = self.progress.train_sums.to(self.device)
        if self.progress.resumed_at:
            scheduler = self.trainer.lr_scheduler_configs[0].scheduler
            assert isinstance(scheduler, LambdaLR)
            follow_config(scheduler, self._options, self.progress.resumed_at)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout is a function of the seed, the step and the rank, as the batches are.
        self._gradient_norm = None
        place = self.global_step, batch_idx % self.trainer.accumulate_grad_batches, self.global_rank
        _seed(self.device, torch_seed(self.config.drawn_seed, Stream.dropout, *place))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        sums = self.model.sums(batch)
        add_sums(self.progress.train_sums, sums, batch.sequences)
        loss = joint_loss(sums, batch.global_counts, self.config.weights)
        self.losses.append(loss.detach())
        # Lightning divides by the accumulation and DDP by the ranks; the loss is exact already.
        return loss * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def gradient_norm(self) -> Tensor:
        """Returns the norm of the whole gradient before clipping, computed once a step."""
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
        add_counts(self.progress.train_sums, steps=1)
        if not gradient_clip_val:
            return
        by_value = gradient_clip_algorithm == "value"
        norm = gradient_norm(self.model, math.inf) if by_value else self.gradient_norm()
        add_counts(self.progress.train_sums, clipped=norm > gradient_clip_val)
        if by_value:
            nn.utils.clip_grad_value_(self.model.parameters(), gradient_clip_val)
        else:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), gradient_clip_val, norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        progress = self.progress.to_checkpoint(self.trainer)
        checkpoint["bert_lightning"] = {**self.description, "progress": progress}
        del checkpoint["loops"]  # they follow from the step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Here rather than in a callback, as Lightning calls those after it loads the weights.
        put_trained_first(checkpoint, self.average is not None)
        step, saved = checkpoint["global_step"], checkpoint["bert_lightning"]["progress"]
        self.progress.restore(self.trainer, saved, step)
        checkpoint["loops"] = loops_at(self.trainer, step, saved["validation_due"])


class PretrainingModule(TrainingModule[BertForPreTraining]):
    """Pretrains a BERT of random initial weights.

    Its `epoch_sizes` are its examples in each phase, and `teachers` are whom it learns from besides
    the labels.
    """

    config: TrainConfig
    title, unit, can_be_replayed = "pretraining", "pairs", True

    def __init__(
        self,
        config: TrainConfig,
        vocab_size: int,
        steps: int,
        epoch_sizes: Sequence[int],
        description: dict[str, Any],
        teachers: Teachers | None = None,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.drawn_seed, Stream.weights))
            model = BertForPreTraining(config.model, vocab_size, own_objectives(config.objective))
        super().__init__(config, model, steps, description)
        self.epoch_sizes = epoch_sizes
        self.teachers = teachers
        self.held_out: list[HeldOutSums] = []
        """The sums of this rank's batches of the current validation or test."""

    @property
    def predicted_words(self) -> int:
        return self.config.objective.predicted_words(super().predicted_words)

    @property
    def epochs(self) -> float:
        phases = phases_of(self.config.batch, self.progress.steps)
        return passes(self.progress.pairs, phases, self.epoch_sizes)

    def training_step(self, batch: PretrainBatch, batch_idx: int) -> Tensor:
        if self.teachers is not None:
            batch = batch._replace(taught=self.teachers(batch))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        stats = self.trainer.datamodule.token_stats  # type: ignore[attr-defined]
        self.held_out.append(held_out_sums(self.evaluated, batch, stats))

    test_step = validation_step

    def held_out_scores(self, sum_of_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        others = [name for name in self.model.objectives if name != "mlm"]
        zeros = HeldOutSums(*(zero.to(self.device) for zero in HeldOutSums.zeros(len(others))))
        own = reduce(HeldOutSums.plus, self.held_out, zeros)
        self.held_out.clear()
        means = HeldOutSums(*map(sum_of_ranks, own)).means(others)
        return {name: score.item() for name, score in means.items()}


def _seed(device: torch.device, seed: int) -> None:
    """Seeds the random numbers of the CPU and of this device.

    `torch.manual_seed` seeds every kind of device, and formats a traceback for each one that the
    machine lacks. In fine-tuning a small model that took a tenth of a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
