"""The progress of a run, as a bar or as lines."""

import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bert_lightning.config import TrainConfig
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.evaluation import probing
from bert_lightning.evaluation.scores import in_words
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.runs.curves import Curves
from bert_lightning.training.module import TrainingModule

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_DRAWINGS = 0.5


class TerminalBar:
    """A bar below the lines of a terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("steps", scores="")
        self._bar.start()

    def show(self, step: int, total: int | None, scores: str) -> None:
        self._bar.update(self._task, completed=step, total=total, scores=scores)

    def print(self, line: str) -> None:
        self._bar.console.print(line, highlight=False)

    def stop(self) -> None:
        self._bar.stop()


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
        self.bar: TerminalBar | NotebookBar | None = None
        self.enabled = True
        self._last_line = -_SECONDS_BETWEEN_LINES
        self._last_step = 0

    def disable(self) -> None:  # called by Lightning on all ranks but the first
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        console = Console()
        if self.enabled and console.is_jupyter:
            self.bar = NotebookBar()
        elif self.enabled and console.is_terminal:
            self.bar = TerminalBar(console, self.module.title)

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._show_step(trainer.global_step)

    def _show_step(self, step: int) -> None:
        logged = self.module.progress.curves.get("train/loss", [(0, 0.0)])[-1][0]
        waited = time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES
        if self.bar is not None:
            self.bar.show(step, self._total, self._training_scores() if logged else "")
        elif self.enabled and waited and logged == step != self._last_step:
            self._last_line, self._last_step = time.monotonic(), step
            self._print(f"step {step}/{self._total or '…'}  {self._training_scores()}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.enabled or self.validation_line is None or trainer.sanity_checking:
            return
        self._show_step(trainer.global_step)
        steps = f"{trainer.global_step}/{self._total or '…'}"
        scores = self.validation_line(self.module.progress.curves)
        self._print(f"step {steps}  validation  {scores}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show_step(trainer.global_step)
        self._stop()

    def on_exception(self, *_: Any, **__: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _print(self, line: str) -> None:
        if self.bar is not None:
            self.bar.print(line)
        else:
            print(line, flush=True)

    @property
    def _total(self) -> int | None:
        """Optimizer steps of the run; None while its time budget has not settled them."""
        steps = self.module.progress.steps
        return steps if steps < UNKNOWN_STEPS else None

    def _training_scores(self) -> str:
        curves, unit = self.module.progress.curves, self.module.unit
        losses = [
            f"{name.upper()} {curves[f'train/{name}_loss'][-1][1]:.3f}"
            for name in self.module.config.weights
            if f"train/{name}_loss" in curves
        ]
        return "  ".join(
            [
                *losses,
                f"{curves[f'speed/{unit}_per_second'][-1][1]:.0f} {unit}/s",
            ]
        )


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
