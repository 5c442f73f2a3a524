"""The progress of a run as a person watches it."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bert_lightning.data.baselines import Baselines
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.training.module import PretrainingModule

_SECONDS_BETWEEN_LINES = 5.0


class LossProgress(ProgressBar):
    """A bar with both losses on a terminal, plain lines elsewhere.

    Args:
        baselines: what validation losses are shown beside; None shows no validation.
    """

    def __init__(self, baselines: Baselines | None) -> None:
        super().__init__()
        self.baselines = baselines
        self.console = Console()
        self.bar: Progress | None = None
        self.enabled = True
        self._last_line = -_SECONDS_BETWEEN_LINES
        self._last_step = 0

    def disable(self) -> None:
        """Called by Lightning on all ranks but the first."""
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        self._last_step = trainer.global_step
        if not self.enabled or not self.console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("pretraining"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.bar.add_task(
            "steps", total=_total(pl_module), scores="", completed=trainer.global_step
        )
        self.bar.start()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PretrainingModule)
        self._show_step(trainer.global_step, pl_module)

    def _show_step(self, step: int, module: PretrainingModule) -> None:
        curve = module.progress.curves.get("train/mlm_loss", [])
        logged = bool(curve) and curve[-1][0] == step
        waited = time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step, total=_total(module))
            if logged:
                self.bar.update(self.bar.task_ids[0], scores=_training_scores(module))
        elif self.enabled and logged and waited and step != self._last_step:
            self._last_line, self._last_step = time.monotonic(), step
            self._print(f"step {step}/{_total(module) or '…'}  {_training_scores(module)}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        if not self.enabled or self.baselines is None or trainer.sanity_checking:
            return
        self._show_step(trainer.global_step, pl_module)
        last = {name: values[-1][1] for name, values in pl_module.progress.curves.items()}
        baselines = self.baselines._asdict()

        def score(name: str) -> str:
            baseline = baselines.get(name)
            value = f"{last[f'val/{name}']:.3f}"
            return value if baseline is None else f"{value} (baseline {baseline:.3f})"

        scores = [
            f"{name.upper()} {score(f'{name}_loss')}, accuracy {score(f'{name}_accuracy')}"
            for name in pl_module.config.objective.weights
            if f"val/{name}_loss" in last
        ]
        steps = f"{trainer.global_step}/{_total(pl_module) or '…'}"
        self._print(f"step {steps}  validation  {'  '.join(scores)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        self._show_step(trainer.global_step, pl_module)
        self._stop()

    def on_exception(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        exception: BaseException,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _print(self, line: str) -> None:
        if self.bar is not None:
            self.bar.console.print(line, highlight=False)
        else:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def _total(module: PretrainingModule) -> int | None:
    """Optimizer steps of the run; None while its time budget has not settled them."""
    steps = module.progress.steps
    return steps if steps < UNKNOWN_STEPS else None


def _training_scores(module: PretrainingModule) -> str:
    last = {name: values[-1][1] for name, values in module.progress.curves.items()}
    losses = [
        f"{name.upper()} {last[f'train/{name}_loss']:.3f}"
        for name in module.config.objective.weights
        if f"train/{name}_loss" in last
    ]
    return "  ".join([*losses, f"{last['speed/pairs_per_second']:.0f} pairs/s"])
