"""Counts how many more tokens the slowest rank has than the mean, on batches of WikiText-2.

python -m benchmarks.balance FOLDER

Writes `benchmarks/balance.json`. A calculation: nothing is trained and nothing is timed.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bert_lightning.config import BatchConfig, CorpusConfig, PairKind, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition, deal
from bert_lightning.errors import exit_on_user_error

RESULTS = Path(__file__).parent / "balance.json"
RANKS = tuple(2**power for power in range(1, 11))
PAIRS_A_RANK = (512, 64)
LENGTH = 128
_MOST_STEPS, _PAIRS = 32, 1 << 17
"""As many steps as have so many pairs together, 32 at most and 1 at least."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="WikiText-2's files")
    args = parser.parse_args(argv)
    with TemporaryDirectory() as cache:
        data = CorpusConfig(path=str(args.folder), cache_dir=cache)
        corpus = prepare(data, TokenizerConfig(), PairsConfig())
        rows = [
            counted(corpus, kind, pairs, ranks)
            for kind in (PairKind.sentence, PairKind.segment)
            for pairs in PAIRS_A_RANK
            for ranks in RANKS
        ]
    text = json.dumps({"max_length": LENGTH, "slowest_over_mean": rows}, indent=2)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


def counted(corpus: PreparedCorpus, kind: PairKind, pairs: int, ranks: int) -> dict[str, Any]:
    """Returns the tokens of the slowest rank over the mean, averaged over steps."""
    size = pairs * ranks
    config = BatchConfig(max_length=LENGTH, global_batch_size=size, pairs=PairsConfig(kind))
    steps = max(1, min(_MOST_STEPS, _PAIRS // size))
    batches = TrainingBatches(corpus, config, 0, StepPartition(0, 1, 1), steps)
    in_order, dealt = [], []
    for step in range(steps):
        lengths = batches[step].sequences.lengths
        in_order.append(_slowest(lengths.reshape(ranks, pairs)))
        dealt.append(_slowest(lengths[deal(lengths, ranks)]))
    return {
        "pairs": kind.value,
        "pairs_a_rank": pairs,
        "ranks": ranks,
        "steps": steps,
        "in_order": round(float(np.mean(in_order)), 5),
        "dealt": round(float(np.mean(dealt)), 5),
    }


def _slowest(lengths: np.ndarray) -> float:
    tokens = lengths.sum(axis=1)
    return tokens.max() / tokens.mean()


if __name__ == "__main__":
    main()
