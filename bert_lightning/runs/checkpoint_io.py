"""Checkpoint files: written whole or not at all, with a manifest, and read without running code."""

import hashlib
import json
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from torch import nn

from bert_lightning.config import OptimConfig, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.errors import UserError
from bert_lightning.optim.optimizers import states_per_weight
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT, manifest_path, read_checkpoint

_WORTH_A_THREAD = 2**18
"""Bytes that take longer to hash than a thread to be told of them."""


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk, then renames: no half-written file shows.

    The file is streamed, so it is never in memory a second time, and its SHA-256 is taken on the
    way. The manifest that states it gets its name before the checkpoint gets its own: a new
    checkpoint that shows has one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            UserError: it cannot be written; what was there before is still there.
        """
        del storage_options
        target = Path(path)
        aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file, ThreadPoolExecutor(1) as beside:
                stream = _Hashing(file, beside)
                torch.save(checkpoint, cast(IO[bytes], stream))
                _to_disk(file)
            manifest = json.dumps(_manifest(checkpoint, stream)) + "\n"
            if target.exists():
                # Beside the other's manifest neither the old file nor the new one would pass;
                # without one, they are checked by checksums of their own.
                manifest_path(target).unlink(missing_ok=True)
                aside.replace(target)
                write_whole(manifest_path(target), manifest)
            else:
                write_whole(manifest_path(target), manifest)
                aside.replace(target)
            _folder_to_disk(target.parent)
        except (OSError, RuntimeError) as error:  # torch wraps a failed write into the second
            raise UserError(_unwritten(target, error)) from error
        finally:
            with suppress(OSError):
                aside.unlink()

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a verified checkpoint, as tensors and plain types only, whatever is asked for."""
        del map_location, weights_only
        return dict(read_checkpoint(Path(path)))


class _Hashing:
    """A stream that hashes what is written to it, while it is written."""

    def __init__(self, file: IO[bytes], beside: Executor) -> None:
        self.file = file
        self.beside = beside
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, part: bytes) -> int:
        self.size += len(part)
        if len(part) < _WORTH_A_THREAD:
            self.sha256.update(part)
            return self.file.write(part)
        hashed = self.beside.submit(self.sha256.update, part)
        try:
            return self.file.write(part)
        finally:
            hashed.result()  # the memory is the writer's again when this returns

    def flush(self) -> None:
        self.file.flush()


def _manifest(checkpoint: dict[str, Any], written: _Hashing) -> dict[str, Any]:
    progress = checkpoint.get("bert_lightning", {}).get("progress", {})
    return {
        "step": checkpoint.get("global_step"),
        "val_loss": progress.get("val_loss"),
        "bytes": written.size,
        "sha256": written.sha256.hexdigest(),
    }


def write_whole(path: Path, text: str) -> None:
    """Writes a small file as a whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            _to_disk(file)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Makes the renames in a folder last; Windows has no such call, and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(target: Path, error: Exception) -> str:
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    reason = cause.strerror if isinstance(cause, OSError) else str(error).split("\n", 1)[0]
    return (
        f"{target} cannot be written: {reason or cause}; the earlier checkpoints are untouched: "
        "make room there, and resume= goes on from the newest"
    )


def describe_run(config: TrainConfig, corpus: PreparedCorpus, vocab_size: int) -> dict[str, Any]:
    """All that a checkpoint says beside its weights, in plain types: enough to use it alone."""
    return {
        "format": CHECKPOINT_FORMAT,
        "model": to_plain(asdict(config.model)),
        "vocab_size": vocab_size,
        "tokenizer": corpus.tokenizer.to_str(),
        "config": to_plain(asdict(config)),
        "corpus": corpus.name,
        "corpus_origin": corpus.origin,
        "corpus_key": corpus.key,
        "corpus_identity": corpus.identity,
        "fallback_reason": corpus.fallback_reason,
    }


def expected_size(model: nn.Module, config: OptimConfig, description: dict[str, Any]) -> int:
    """Bytes of a checkpoint: weights, their average, moments, and what is said beside them."""
    weights = 1 if config.ema_decay is None else 2
    arrays = sum(
        (weights + states_per_weight(config, name, parameter))
        * parameter.numel()
        * parameter.element_size()
        for name, parameter in model.named_parameters()
    )
    return arrays + len(json.dumps(description).encode())
