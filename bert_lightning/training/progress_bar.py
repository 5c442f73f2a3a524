"""The progress of a run, as a bar or as lines."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console

from bert_lightning.config import TrainConfig
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.evaluation import probing
from bert_lightning.evaluation.scores import in_words
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.runs.curves import Curves
from bert_lightning.training.module import TrainingModule
from bert_lightning.work import Work, bar_console, duration, say, shown

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_DRAWINGS = 0.5


class TrainingWork(Work):
    """The steps of a run, with their scores."""

    def __init__(self, trainer: Trainer, module: TrainingModule[Any]) -> None:
        super().__init__(module.title)
        self.trainer, self.module = trainer, module
        self.step_began, self._told = time.monotonic(), -1.0
        self.restart(module.title, self.steps, "steps", done=trainer.global_step)

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the run; None while its time budget has not settled them."""
        steps = self.module.progress.steps
        return steps if steps < UNKNOWN_STEPS else None

    @property
    def place(self) -> str:
        return f"{self.trainer.global_step}/{self.steps or '…'}"

    def update(self) -> None:
        self.done, self.total = self.trainer.global_step, self.steps

    def status(self) -> str:
        seconds = self.seconds_left()
        left = [] if seconds is None else [f"{duration(seconds)} left"]
        return "  ".join([self.place, *self.scores(), *left])

    def line(self) -> str:
        if self._told != self.done:
            self._told = self.done
            return "  ".join([f"step {self.place}", *self.scores()])
        # Each micro-batch of a step leaves its loss.
        number, all_of = len(self.module.losses) + 1, self.trainer.accumulate_grad_batches
        since = duration(time.monotonic() - self.step_began)
        next_is = f"micro-batch {number} of {all_of}" if number <= all_of else "the update"
        return f"step {self.place}  next: {next_is}, {since} so far"

    def scores(self) -> list[str]:
        """Returns the losses of training and the rate, once they are known."""
        curves, unit = self.module.progress.curves, self.module.unit
        if (rate := f"work/{unit}_per_second") not in curves:
            return []
        losses = [
            f"{name.upper()} {curves[f'train/{name}_loss'][-1][1]:.3f}"
            for name in self.module.config.weights
            if f"train/{name}_loss" in curves
        ]
        return [*losses, f"{curves[rate][-1][1]:.0f} {unit}/s"]


class NotebookBar:
    """A bar below a notebook's cell; it needs no widgets."""

    def __init__(self) -> None:
        from IPython.display import display

        self._shown = ""
        self._bar, self._drawn = "", time.monotonic()
        self._handle = display(self, display_id=True)

    def show(self, step: int, total: int | None, scores: str) -> None:
        self._shown = f"step {step}/{total or '…'}  {scores}"
        self._bar = f'<progress value="{step}" max="{total}"></progress> ' if total else ""
        if time.monotonic() - self._drawn > _SECONDS_BETWEEN_DRAWINGS:
            self._draw()

    def print(self, line: str) -> None:
        print(line)

    def stop(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._handle.update(self)

    def __repr__(self) -> str:
        return self._shown

    def _repr_html_(self) -> str:
        return f"{self._bar}<code>{self._shown}</code>"


class LossProgress(ProgressBar):
    """A bar with all losses on a terminal and in a notebook, plain lines elsewhere.

    `validation_line` tells the scores of the last validation, from all curves.
    """

    def __init__(
        self, module: TrainingModule[Any], validation_line: Callable[[Curves], str] | None
    ) -> None:
        super().__init__()
        self.module = module
        self.validation_line = validation_line
        self.enabled = True
        self.bar: NotebookBar | None = None
        self.work: TrainingWork | None = None
        self._training, self._validation = ExitStack(), ExitStack()
        self._held_out: Work | None = None
        self._lines = False
        self._last_line = -_SECONDS_BETWEEN_LINES
        self._last_step = 0

    def disable(self) -> None:  # called by Lightning on all ranks but the first
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.enabled:
            return
        self._last_step = trainer.global_step
        self.work = TrainingWork(trainer, self.module)
        if Console().is_jupyter:
            self.bar = NotebookBar()
        else:
            self._lines = bar_console() is None or not sys.stdout.isatty()
            self._training.enter_context(shown(self.work))

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self.work is not None and self.module.between_steps:
            self.work.step_began = time.monotonic()
            self._show_step(self.work)

    def _show_step(self, work: TrainingWork) -> None:
        step, scores = work.trainer.global_step, "  ".join(work.scores())
        logged = self.module.progress.curves.get("train/loss", [(0, 0.0)])[-1][0]
        waited = time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES
        if self.bar is not None:
            self.bar.show(step, work.steps, scores)
        elif self._lines and waited and logged == step != self._last_step:
            self._last_line, self._last_step = time.monotonic(), step
            say(f"step {work.place}  {scores}")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._begin("validation", trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("test", trainer.num_test_batches)

    def _begin(self, split: str, batches: list[int | float]) -> None:
        if self.enabled:
            self._held_out = Work(split, sum(batches), "batches")
            self._validation.enter_context(shown(self._held_out))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        if self._held_out is not None:
            self._held_out.advance()

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self.on_validation_batch_end()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation.close()
        if self.work is None or self.validation_line is None or trainer.sanity_checking:
            return
        self._show_step(self.work)
        scores = self.validation_line(self.module.progress.curves)
        say(f"step {self.work.place}  validation  {scores}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.work is not None:
            self._show_step(self.work)
        self._stop()

    def on_test_end(self, *_: Any) -> None:
        self._stop()

    def on_exception(self, *_: Any, **__: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        self._validation.close()
        self._training.close()
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def scores_beside_baselines(
    config: TrainConfig, validation: EvaluationSet | None
) -> Callable[[Curves], str] | None:
    """Returns what tells the scores of the last validation, with its baselines and its probe."""
    if validation is None:
        return None

    def line(curves: Curves) -> str:
        baselines = {} if config.validates_in_part else validation.baselines._asdict()
        last = {
            name.removeprefix("val/"): curve[-1][1]
            for name, curve in curves.items()
            if name.startswith("val/")
        }
        words = [*in_words(config.weights, last, baselines)]
        probed = {name: curve[-1] for name, curve in curves.items() if name.startswith("probe/")}
        if probed and probed["probe/mix_accuracy"][0] == curves["val/loss"][-1][0]:
            scores = {name: value for name, (_, value) in probed.items()}
            words.append(f"probe {probing.in_words(scores)}")
        return "  ".join(words)

    return line
