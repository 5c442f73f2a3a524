"""What the parts of `benchmarks.gpu` take their steps on: rows of models, lengths and batches."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.measure import steps_of
from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.cli import app as cli
from bert_lightning.config import TrainConfig

CONF = Path(__file__).parents[1] / "conf"
VOCAB = 30_522
BATCHES = 4
MEAN_LENGTH = 56
"""Of WikiText-2's pairs."""


class Settings(NamedTuple):
    """What all parts are told."""

    device: str
    small: bool
    """Whether sizes are tiny and steps few: only to see that the script works."""
    text: str | None
    """The folder of WikiText-2; None makes lengths up."""


class Row(NamedTuple):
    """A model and its global batch, in one micro-batch."""

    options: tuple[str, ...]
    length: int
    pairs: int
    full: bool = True
    """Whether every pair is as long as may be."""


_CHECK = (
    *("model.hidden_size=256", "model.num_attention_heads=4", "model.intermediate_size=512"),
    *("model.hidden_dropout_prob=0", "model.attention_probs_dropout_prob=0"),
)
SMALL_MODEL = (
    *("model.hidden_size=64", "model.num_attention_heads=2", "model.intermediate_size=128"),
    "model.num_hidden_layers=1",
)
ROWS = {
    "base-pairs": Row(("model=base",), 128, 512, full=False),
    "base-128": Row(("model=base",), 128, 512),
    "large-512": Row(("model=large",), 512, 64),
    "check-128": Row(_CHECK, 128, 16, full=False),
    "check-512": Row(_CHECK, 512, 4),
}


@cache
def config_of(name: str, settings: Settings) -> TrainConfig:
    """Returns the config of a row."""
    row = ROWS[name]
    length, pairs = (row.length // 8, min(row.pairs, 8)) if settings.small else row[1:3]
    options = [*row.options, *(SMALL_MODEL if settings.small else ())]
    options += ["run_dir=.", "optim=adamw", "optim.lr=1e-4"]
    options += [f"batch.max_length={length}", f"batch.global_batch_size={pairs}"]
    if settings.text:
        options += [f"data.path={settings.text}"]
    return cli.compose(CONF, options)


@cache
def batches_of(name: str, settings: Settings) -> tuple[list[PretrainBatch], int]:
    """Returns some global batches of a row, and the size of their vocabulary."""
    config, row = config_of(name, settings), ROWS[name]
    if settings.text and name == "base-pairs":
        return steps_of(config, BATCHES)
    vocab_size = 512 if settings.small else VOCAB
    length, rng = config.batch.max_length, np.random.default_rng(0)
    made = []
    for _ in range(BATCHES):
        lengths = np.full(config.batch.global_batch_size, length)
        if not row.full:
            mean = MEAN_LENGTH * length / 128
            lengths = np.clip(rng.gamma(4, mean / 4, len(lengths)).astype(np.int64), 4, length)
        made.append(_made_up(lengths, vocab_size, rng))
    return made, vocab_size


def _made_up(lengths: np.ndarray, vocab_size: int, rng: np.random.Generator) -> PretrainBatch:
    """Returns a batch of random tokens, 15 % of each sequence masked."""
    ids = rng.integers(5, vocab_size, lengths.sum())
    starts = np.cumsum(lengths) - lengths
    types = np.concatenate([np.arange(length) >= length // 2 for length in lengths])
    masked = np.concatenate(
        [
            start + np.sort(rng.choice(length, max(1, round(0.15 * length)), replace=False))
            for start, length in zip(starts, lengths, strict=True)
        ]
    )
    return PretrainBatch(
        pack_sequences(ids, types, lengths),
        torch.from_numpy(masked),
        torch.from_numpy(rng.integers(5, vocab_size, len(masked))),
        {"nsp": torch.from_numpy(rng.integers(0, 2, len(lengths)))},
        {"mlm": len(masked), "nsp": len(lengths)},
    )
