"""Checkpoint files: written whole or not at all, and read without running code."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from bert_lightning.batch import CHECKPOINT_FORMAT
from bert_lightning.config import TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.data.store import PreparedCorpus


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to the disk, then renames: no half-written file shows."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        del storage_options
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with aside.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


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
        "fallback_reason": corpus.fallback_reason,
    }
