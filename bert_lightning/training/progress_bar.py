"""The progress of a run as a person watches it."""

import sys
import time
from typing import Any, Protocol

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bert_lightning.data.baselines import Baselines
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.training.module import PretrainingModule

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_DRAWINGS = 0.5


class Bar(Protocol):
    """A bar that is drawn anew as the run proceeds."""

    def show(self, step: int, total: int | None, scores: str) -> None: ...

    def print(self, line: str) -> None: ...

    def stop(self) -> None: ...


class TerminalBar:
    """A bar below the lines of a terminal."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("pretraining"),
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

    Args:
        baselines: what validation losses are shown beside; None shows no validation.
    """

    def __init__(self, baselines: Baselines | None) -> None:
        super().__init__()
        self.baselines = baselines
        self.console = Console()
        self.bar: Bar | None = None
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
        if self.enabled and self.console.is_jupyter:
            self.bar = NotebookBar()
        elif self.enabled and self.console.is_terminal:
            self.bar = TerminalBar(self.console)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PretrainingModule)
        self._show_step(trainer.global_step, pl_module)

    def _show_step(self, step: int, module: PretrainingModule) -> None:
        curve = module.progress.curves.get("train/loss", [])
        logged = bool(curve) and curve[-1][0] == step
        waited = time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES
        if self.bar is not None:
            self.bar.show(step, _total(module), _training_scores(module) if curve else "")
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
            self.bar.print(line)
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
