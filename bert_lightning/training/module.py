"""The LightningModule: glue between the model, the objective, the optimiser and the curves."""

import math
import time
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.data.randomness import Stream, random_bits
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.objective import ObjectiveSums, joint_loss, objective_sums
from bert_lightning.training.optim import build_optimizer, build_schedule


class Scores(Metric):
    """Both objectives' losses and accuracies over many batches and all devices."""

    full_state_update = False
    mlm_nll: Tensor
    mlm_correct: Tensor
    masked: Tensor
    nsp_nll: Tensor
    nsp_correct: Tensor
    labelled: Tensor
    pairs: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in (
            "mlm_nll",
            "mlm_correct",
            "masked",
            "nsp_nll",
            "nsp_correct",
            "labelled",
            "pairs",
            "tokens",
        ):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, sums: ObjectiveSums, batch: PretrainBatch) -> None:
        self.mlm_nll += sums.mlm_nll.detach()
        self.mlm_correct += sums.mlm_correct
        self.masked += len(batch.masked_labels)
        self.nsp_nll += sums.nsp_nll.detach()
        self.nsp_correct += sums.nsp_correct
        self.labelled += (batch.nsp_labels != IGNORE_INDEX).sum()
        self.pairs += len(batch.nsp_labels)
        self.tokens += len(batch.sequences.token_ids)

    def compute(self) -> dict[str, Tensor]:
        scores = {
            "mlm_loss": self.mlm_nll / self.masked,
            "mlm_accuracy": self.mlm_correct / self.masked,
            "nsp_loss": self.nsp_nll / self.labelled,
            "nsp_accuracy": self.nsp_correct / self.labelled,
            "pairs": self.pairs,
            "tokens": self.tokens,
        }
        if self.labelled == 0:
            del scores["nsp_loss"], scores["nsp_accuracy"]
        return scores


class PretrainingModule(L.LightningModule):
    """Pre-trains a BERT; `curves` keeps what was logged, as (step, value) by name.

    Args:
        config: the whole run.
        vocab_size: rows of the embedding.
        steps: optimiser steps of the whole run.
        epoch_size: examples of the training split.
        description: what each checkpoint says of the run, in plain types.
    """

    def __init__(
        self,
        config: TrainConfig,
        vocab_size: int,
        steps: int,
        epoch_size: int,
        description: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = config
        self.steps = steps
        self.epoch_size = epoch_size
        self.description = description
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_torch_seed(config.seed, Stream.weights))
            self.model = BertForPreTraining(config.model, vocab_size)
        if config.model.compile:
            for block in self.model.encoder.blocks:
                block.compile(dynamic=True)  # in place: the names of the parameters stay
        self.train_scores, self.held_out_scores = Scores(), Scores()
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.seconds = 0.0
        """Spent on training steps so far, validation excluded."""
        self.pairs_seen = self.tokens_seen = 0

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        fused = not self.config.trainer.precision.startswith("16")
        optimizer = build_optimizer(self.model, self.config.optim, fused)
        schedule = build_schedule(optimizer, self.config.optim, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

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
            nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def on_train_start(self) -> None:
        self._since = time.perf_counter()

    def on_train_batch_start(self, batch: PretrainBatch, batch_idx: int) -> None:
        # Dropout is a function of the seed, the step and the rank, as the batches are.
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        keys = (self.config.seed, Stream.dropout, self.global_step, micro_batch, self.global_rank)
        torch.manual_seed(_torch_seed(*keys))

    def training_step(self, batch: PretrainBatch, batch_idx: int) -> Tensor:
        sums = objective_sums(self.model, batch)
        self.train_scores.update(sums, batch)
        loss = joint_loss(sums, batch, self.config.objective)
        # Lightning divides by the accumulation and ddp by the devices; the loss is exact already.
        return loss * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def on_train_batch_end(self, outputs: Any, batch: PretrainBatch, batch_idx: int) -> None:
        step_is_done = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        every = self.config.trainer.log_every_n_steps
        if step_is_done and (self.global_step % every == 0 or self.global_step == self.steps):
            self._log_training()

    def _log_training(self) -> None:
        if not self.train_scores.update_called:
            return
        scores = _floats(self.train_scores.compute())
        self.train_scores.reset()
        self._check_finite(scores)
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        pairs, tokens = scores.pop("pairs"), scores.pop("tokens")
        self.seconds += elapsed
        self.pairs_seen += round(pairs)
        self.tokens_seen += round(tokens)
        curves = {f"train/{name}": value for name, value in self._with_joint(scores).items()}
        curves["train/lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        curves["train/epoch"] = self.pairs_seen / self.epoch_size
        curves["speed/pairs_per_second"] = pairs / elapsed
        curves["speed/tokens_per_second"] = tokens / elapsed
        self._record(curves)

    def _check_finite(self, scores: dict[str, float]) -> None:
        if not all(map(math.isfinite, scores.values())):
            raise UserError(
                f"the training loss is not finite at step {self.global_step} (MLM "
                f"{scores['mlm_loss']}, NSP {scores.get('nsp_loss', 0)}): the run has diverged, "
                "and no checkpoint of it is written; try an optim.lr below "
                f"{self.config.optim.lr:g}, a longer optim.warmup_steps, or "
                "trainer.gradient_clip_val=1"
            )

    def on_validation_start(self) -> None:
        self._paused = time.perf_counter()

    def on_validation_epoch_end(self) -> None:
        self._log_held_out("val")

    def on_validation_end(self) -> None:
        if self.trainer.training:
            self._since += time.perf_counter() - self._paused

    def validation_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        self.held_out_scores.update(objective_sums(self.model, batch), batch)

    def on_test_epoch_end(self) -> None:
        self._log_held_out("test")

    def test_step(self, batch: PretrainBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def _log_held_out(self, split: str) -> None:
        scores = _floats(self.held_out_scores.compute())
        self.held_out_scores.reset()
        del scores["pairs"], scores["tokens"]
        curves = {f"{split}/{name}": value for name, value in self._with_joint(scores).items()}
        self._record(curves)
        self.log_dict(curves, logger=False)  # for the callbacks that watch the validation loss

    def _with_joint(self, scores: dict[str, float]) -> dict[str, float]:
        weights = self.config.objective
        nsp_loss = scores.get("nsp_loss", 0.0)
        joint = weights.mlm_weight * scores["mlm_loss"] + weights.nsp_weight * nsp_loss
        return {"loss": joint, **scores}

    def _record(self, curves: dict[str, float]) -> None:
        for name, value in curves.items():
            self.curves.setdefault(name, []).append((self.global_step, value))
        for logger in self.loggers:
            logger.log_metrics(curves, step=self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["bert_lightning"] = self.description


def _floats(scores: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in scores.items()}


def _torch_seed(*keys: int) -> int:
    return int(random_bits(*keys)[0] & np.uint64(2**63 - 1))
