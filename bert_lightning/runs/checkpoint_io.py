"""Checkpoint files: written atomically, with a manifest, and read without running code."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol, cast

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from torch import nn

from bert_lightning.config import ModelConfig, OptimConfig, RunConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.files import atomic, sync, write_text
from bert_lightning.optim.optimizers import states_per_weight
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT, manifest_path, read_checkpoint

_WORTH_A_THREAD = 2**18
"""Bytes that take longer to hash than to hand to a thread."""


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, each with a manifest that states its SHA-256.

    The file is streamed, so it is never in memory a second time, and hashed on the way. A new
    checkpoint shows only after its manifest.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            UserError: it cannot be written; what was there before is still there.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic(target) as temporary:
                with temporary.open("wb") as file, ThreadPoolExecutor(1) as hasher:
                    stream = _Hashing(file, hasher)
                    torch.save(checkpoint, cast(IO[bytes], stream))
                    sync(file)
                progress = checkpoint.get("bert_lightning", {}).get("progress", {})
                facts = {
                    "step": checkpoint.get("global_step"),
                    "val_loss": progress.get("val_loss"),
                    "bytes": stream.size,
                    "sha256": stream.sha256.hexdigest(),
                }
                manifest = json.dumps(facts) + "\n"
                if replaced := target.exists():
                    # Neither the old file nor the new one would pass with the other's manifest;
                    # without one, its own checksums are verified.
                    manifest_path(target).unlink(missing_ok=True)
                else:
                    write_text(manifest_path(target), manifest)
            if replaced:
                write_text(manifest_path(target), manifest)
        except (OSError, RuntimeError) as error:  # torch wraps a failed write into the second
            raise UserError(_unwritten(target, error)) from error

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads and verifies a checkpoint: always as tensors and plain types only."""
        return dict(read_checkpoint(Path(path)))


class _Hashing:
    """A stream that hashes, in a thread, what is written to it."""

    def __init__(self, file: IO[bytes], hasher: Executor) -> None:
        self.file = file
        self.hasher = hasher
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, part: bytes) -> int:
        self.size += len(part)
        if len(part) < _WORTH_A_THREAD:
            self.sha256.update(part)
            return self.file.write(part)
        hashed = self.hasher.submit(self.sha256.update, part)
        try:
            return self.file.write(part)
        finally:
            hashed.result()  # the caller may reuse the memory after this returns

    def flush(self) -> None:
        self.file.flush()


def _unwritten(target: Path, error: Exception) -> str:
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    reason = cause.strerror if isinstance(cause, OSError) else str(error).split("\n", 1)[0]
    return (
        f"{target} cannot be written: {reason or cause}; the earlier checkpoints are untouched: "
        "make room, and resume= continues from the newest"
    )


class TrainedOn(Protocol):
    """What a run learns from: a prepared corpus, or labelled data."""

    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> str: ...

    @property
    def key(self) -> str:
        """Of its whole content."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the key was made of, as far as a person can compare it."""
        ...

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """Says in words how it differs from another of this kind, which has this identity."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def fallback_reason(self) -> str | None:
        """Why it is not what was asked for; None where it is."""
        ...


def describe_run(
    config: RunConfig, model: ModelConfig, corpus: TrainedOn, vocab_size: int
) -> dict[str, Any]:
    """Returns what a checkpoint says of its run: enough to use its weights, in plain types."""
    return {
        "format": CHECKPOINT_FORMAT,
        "model": to_plain(asdict(model)),
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
    """Returns the bytes of a checkpoint: weights, average, optimizer state and description."""
    weights = 1 if config.ema_decay is None else 2
    tensors = sum(
        (weights + states_per_weight(config, name, parameter)) * parameter.nbytes
        for name, parameter in model.named_parameters()
    )
    return tensors + len(json.dumps(description).encode())
