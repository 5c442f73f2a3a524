"""Measures how fast batches of WikiText-2 are built, compared with textbook code.

python -m benchmarks.batches FOLDER

Writes `benchmarks/batches.json`: medians over turns that the two take alternately.
"""

import argparse
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.machine import machine
from bert_lightning.batch import CLS, IS_NEXT, IS_RANDOM, MASK, SEP, SPECIAL_TOKENS, UNK
from bert_lightning.config import BatchConfig, CorpusConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.sentences import split_wikitext
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import exit_on_user_error

RESULTS = Path(__file__).parent / "batches.json"
BATCHES, SIZE, LENGTH = 40, 512, 128

Row = tuple[list[int], list[int], int, list[int], list[float], list[int], int]


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="WikiText-2's files")
    parser.add_argument("--repeat", type=int, default=15)
    args = parser.parse_args(argv)
    results: dict[str, Any] = {"machine": machine(), "repeated": args.repeat}
    with TemporaryDirectory() as place:
        results |= measure_batches(args.folder, place, args.repeat)
    text = json.dumps(results, indent=2)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


def measure_batches(path: Path, cache: str, repeat: int) -> dict[str, float]:
    """Returns the real tokens per CPU second in batches of 512 pairs, ours and a textbook's."""
    torch.set_num_threads(1)
    data = CorpusConfig(path=str(path), cache_dir=cache)
    batching = BatchConfig(max_length=LENGTH, global_batch_size=SIZE)
    corpus = prepare(data, TokenizerConfig(), batching.pairs)
    batches = TrainingBatches(
        corpus, batching, 0, StepPartition(rank=0, world_size=1, accumulation=1), 10**6
    )
    textbook = TextbookExamples(path / "wiki.train.tokens", LENGTH)
    ours, plain = [], []
    for n in range(repeat):
        start = time.process_time()
        some = range(n * BATCHES, (n + 1) * BATCHES)
        tokens = sum(len(batches[i].sequences.token_ids) for i in some)
        ours.append(tokens / (time.process_time() - start))
        start = time.process_time()
        examples = textbook.build(textbook.paragraphs[n::repeat])
        tokens = sum(int(batch[2].sum()) for batch in DataLoader(examples, SIZE, shuffle=True))
        plain.append(tokens / (time.process_time() - start))
    ratios = sorted(fast / slow for fast, slow in zip(ours, plain, strict=True))
    return {
        "tokens_per_cpu_second": statistics.median(ours),
        "textbook_tokens_per_cpu_second": statistics.median(plain),
        "ratio": statistics.median(ratios),
        "lowest_ratio": ratios[0],
        "highest_ratio": ratios[-1],
    }


class TextbookExamples:
    """Sentence pairs as textbook code makes them ("Dive into Deep Learning", section 15.9).

    They are made one by one, from lists of words, and each is padded to the full length.
    Their tensors are made all at once, which is faster than one by one as in the textbook.
    """

    def __init__(self, file: Path, length: int) -> None:
        lines = file.read_text(encoding="utf-8").lower().split("\n")
        paragraphs = [[text.split() for text in split_wikitext(line)] for line in lines]
        self.paragraphs = [paragraph for paragraph in paragraphs if len(paragraph) > 1]
        counts = Counter(word for part in self.paragraphs for words in part for word in words)
        self.words = [*SPECIAL_TOKENS, *(word for word, count in counts.items() if count >= 5)]
        self.numbers = {word: number for number, word in enumerate(self.words)}
        self.length = length
        self.most_masked = round(0.15 * length)

    def build(self, paragraphs: list[list[list[str]]]) -> TensorDataset:
        """Returns all examples of some paragraphs; the third tensor `(examples,)` holds lengths."""
        rows = [
            self._example(first, second)
            for paragraph in paragraphs
            for first, second in pairwise(paragraph)
        ]
        kept = [row for row in rows if row is not None]
        return TensorDataset(*(torch.tensor(column) for column in zip(*kept, strict=True)))

    def _example(self, first: list[str], second: list[str]) -> Row | None:
        label = IS_NEXT
        if random.random() < 0.5:
            label, second = IS_RANDOM, random.choice(random.choice(self.paragraphs))
        if len(first) + len(second) + 3 > self.length:
            return None
        tokens = [CLS, *first, SEP, *second, SEP]
        types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        places = [place for place, token in enumerate(tokens) if token not in (CLS, SEP)]
        random.shuffle(places)
        chosen = sorted(places[: max(1, round(0.15 * len(tokens)))])
        unknown = self.numbers[UNK]
        answers = [self.numbers.get(tokens[place], unknown) for place in chosen]
        for place in chosen:
            draw = random.random()
            if draw < 0.8:
                tokens[place] = MASK
            elif draw < 0.9:
                tokens[place] = random.choice(self.words)
        ids = [self.numbers.get(token, unknown) for token in tokens]
        missing, unmasked = self.length - len(ids), self.most_masked - len(chosen)
        return (
            ids + [0] * missing,  # [PAD] is number 0
            types + [0] * missing,
            len(ids),
            chosen + [0] * unmasked,
            [1.0] * len(chosen) + [0.0] * unmasked,
            answers + [0] * unmasked,
            label,
        )


if __name__ == "__main__":
    main()
