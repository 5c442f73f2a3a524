"""When checkpoints are saved, and which of them are kept."""

import math
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from bert_lightning.errors import UserError, writing
from bert_lightning.files import TEMPORARY, atomic
from bert_lightning.pretrained.checkpoints import (
    BEST,
    LAST,
    CorruptCheckpointError,
    checkpoints_by_step,
    manifest_path,
    read_manifest,
)
from bert_lightning.training.module import PretrainingModule

_NEWEST = 2
"""Checkpoints kept for their age: if the last one is corrupted, there is one before it."""


class SaveCheckpoints(Checkpoint):
    """Saves between two optimizer steps, after the validation that belongs to the first of them.

    Args:
        run_dir: the run's folder.
        every: optimizer steps between two checkpoints; one more follows a validation whose loss
            is among the best.
        top_k: how many are kept for their validation loss, beside the newest ones.
        corrupted: files that are left alone and do not count.
    """

    def __init__(
        self, run_dir: Path, every: int, top_k: int, corrupted: Iterable[Path] = ()
    ) -> None:
        self.folder = run_dir / "checkpoints"
        self.corrupted = set(corrupted)
        self.every = every
        self.top_k = top_k

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            with writing("checkpoints", self.folder, "hydra.run.dir"):
                self.folder.mkdir(parents=True, exist_ok=True)
                TemporaryFile(dir=self.folder).close()
            # A run that resumes may have been killed right after its last save.
            tidy(self.folder, self.top_k, self.corrupted)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PretrainingModule)
        if batch_idx % trainer.accumulate_grad_batches or not trainer.global_step:
            return
        progress = pl_module.progress
        losses = [loss for _, loss in progress.curves.get("val/loss", []) if math.isfinite(loss)]
        among_the_best = progress.val_loss(trainer.global_step) in sorted(losses)[: self.top_k]
        if trainer.global_step % self.every == 0 or among_the_best:
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer, pl_module, finished=True)

    def save(
        self,
        trainer: Trainer,
        module: LightningModule,
        validation_due: bool = False,
        finished: bool = False,
    ) -> Path:
        """Saves the state after the last step; returns the file.

        Args:
            trainer: the trainer, between two steps.
            module: the module that is trained.
            validation_due: whether a validation belongs to that step and is not finished.
            finished: whether the run ends here.
        """
        assert isinstance(module, PretrainingModule)
        path = self.folder / f"step={trainer.global_step:06d}.ckpt"
        progress = module.progress
        if trainer.global_step == progress.resumed_at and not finished:
            return path  # this run resumed from it
        progress.validation_due, progress.finished = validation_due, finished
        for logger in trainer.loggers:
            logger.save()  # a run that resumes from here logs no earlier step again
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            self.corrupted.discard(path)
            tidy(self.folder, self.top_k, self.corrupted)
        return path


def tidy(folder: Path, top_k: int, corrupted: Collection[Path] = ()) -> None:
    """Sets the links, and removes checkpoints that are neither among the newest nor the best.

    It also removes what a killed write left.
    """
    files = [file for file in checkpoints_by_step(folder.parent) if file not in corrupted]
    losses: dict[Path, float] = {}
    for file in files:
        try:
            manifest = read_manifest(file) or {}
        except CorruptCheckpointError:
            continue
        if manifest.get("val_loss") is not None:
            losses[file] = manifest["val_loss"]
    best = sorted(losses, key=lambda file: losses[file])[:top_k]
    if files:
        _link(folder / LAST, files[0])
    if best:
        _link(folder / BEST, best[0])
    kept = {*files[:_NEWEST], *best}
    for file in files:
        if file not in kept:
            file.unlink()
            manifest_path(file).unlink(missing_ok=True)
    for stray in (*folder.glob(TEMPORARY), *_without_file(folder)):
        stray.unlink(missing_ok=True)


def _without_file(folder: Path) -> list[Path]:
    return [
        manifest
        for manifest in folder.glob("step=*.ckpt.json")
        if not manifest.with_suffix("").exists()
    ]


def _link(link: Path, target: Path) -> None:
    with suppress(OSError), atomic(link) as temporary:  # some file systems have no links
        temporary.symlink_to(target.name)


def require_room(run_dir: Path, size: int) -> None:
    """Makes sure that the disk has room for two checkpoints of `size` bytes.

    Raises:
        UserError: it does not; the message states what is needed and what is free.
    """
    free = shutil.disk_usage(run_dir).free
    if free < 2 * size:
        raise UserError(
            f"the disk of {run_dir.absolute()} has {free:,} bytes free, and two checkpoints of "
            f"this model take {2 * size:,}: make room, use hydra.run.dir=FOLDER on another disk, "
            "or omit checkpoints with trainer.enable_checkpointing=false"
        )
