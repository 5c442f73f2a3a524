"""Decides when checkpoints are saved, and which of them are kept."""

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
from bert_lightning.files import TEMPORARY, atomic, write_text
from bert_lightning.pretrained.checkpoints import (
    BEST,
    LAST,
    CorruptCheckpointError,
    checkpoints_by_step,
    read_manifest,
    step_of,
)
from bert_lightning.training.module import TrainingModule

_NEWEST = 2
"""Checkpoints kept because they are new: if the last is corrupted, there is one before it."""


class SaveCheckpoints(Checkpoint):
    """Saves between two optimizer steps, after the validation that belongs to the first of them.

    It saves every `callbacks.every_n_train_steps` steps, after a validation whose loss is among
    the `callbacks.save_top_k` best (of equal ones the first), and at the end. Files in `corrupted`
    are left alone and do not count.
    """

    def __init__(self, module: TrainingModule[Any], corrupted: Iterable[Path] = ()) -> None:
        self.module = module
        self.folder = module.config.folder / "checkpoints"
        self.every = module.config.callbacks.every_n_train_steps
        self.top_k = module.config.callbacks.save_top_k
        self.corrupted = set(corrupted)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            with writing("checkpoints", self.folder, "hydra.run.dir"):
                self.folder.mkdir(parents=True, exist_ok=True)
                TemporaryFile(dir=self.folder).close()
            # A run that resumes may have been killed right after its last save.
            tidy(self.folder, self.top_k, self.corrupted)

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        step, progress = trainer.global_step, self.module.progress
        if not step or not self.module.between_steps:
            return
        curve = progress.curves.get(progress.judged_by, [])
        best = sorted((loss, at) for at, loss in curve if math.isfinite(loss))[: self.top_k]
        if step % self.every == 0 or step in [at for _, at in best]:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer, finished=not self.module.progress.out_of_time)

    def save(self, trainer: Trainer, validation_due: bool = False, finished: bool = False) -> Path:
        """Saves the state after the last step, its validation due or not; returns the file."""
        path = self.folder / f"step={trainer.global_step:06d}.ckpt"
        progress = self.module.progress
        unchanged = trainer.global_step == progress.resumed_at and not finished
        if unchanged and validation_due == progress.validation_due:
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
    """Sets the links, and removes all but the newest and the best, and what a killed write left."""
    files = [file for file in checkpoints_by_step(folder.parent) if file not in corrupted]
    losses: dict[Path, float] = {}
    for file in files:
        try:
            manifest = read_manifest(file) or {}
        except CorruptCheckpointError:
            continue
        if manifest.get("val_loss") is not None:
            losses[file] = manifest["val_loss"]
    best = sorted(losses, key=lambda file: (losses[file], step_of(file)))[:top_k]
    for name, targets in ((LAST, files), (BEST, best)):
        for target in targets[:1]:
            _link(folder / name, target.name)
    for file in {*files} - {*files[:_NEWEST], *best}:
        _remove(file)
    manifests = folder.glob("step=*.ckpt.json")
    without_file = [manifest for manifest in manifests if not manifest.with_suffix("").exists()]
    for stray in (*folder.glob(TEMPORARY), *without_file):
        _remove(stray)


def _remove(file: Path) -> None:
    with suppress(PermissionError):  # on Windows, while another program reads it: the next time
        file.unlink(missing_ok=True)


def _link(path: Path, name: str) -> None:
    """Makes a link to a file of the same folder, or a file that names it; see `BEST`."""
    try:
        with atomic(path) as link:
            link.symlink_to(name)
    except (OSError, NotImplementedError):
        with suppress(OSError):  # on a full disk the checkpoint itself is there
            write_text(path, name + "\n")


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
