"""Compares how fast two checkouts prepare a corpus: CPU seconds of one process, in turn.

python -m benchmarks.preparation_ratio OLD_CHECKOUT TEXT --tokenizer tokenizer.json

TEXT is a folder of prose, such as `benchmarks.varied_text` makes. Writes
`benchmarks/preparation_ratio.json`. A ratio above 1 means that this checkout is faster.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "preparation_ratio.json"
PREPARE = """
import sys
from tempfile import TemporaryDirectory
from time import process_time
from psutil import Process
from bert_lightning import config
from bert_lightning.corpus.prepare import prepare

text, tokenizer = sys.argv[1:]
source, prose = config.CorpusSource("text"), config.Format("prose")
options = {"source": source, "path": text, "format": prose, "min_sentences": 1}
if hasattr(config, "DocumentUnit"):  # before there was that option, blank lines ended documents
    document = config.DocumentUnit("blank_line")
    options |= {"document": document, "prepare": config.PrepareConfig(workers=1)}
with TemporaryDirectory() as cache:
    data = config.CorpusConfig(cache_dir=cache, **options)
    before = process_time() + sum(Process().cpu_times()[2:4])
    prepare(data, config.TokenizerConfig(path=tokenizer or None), config.PairsConfig())
    print(process_time() + sum(Process().cpu_times()[2:4]) - before)
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path, help="the checkout to compare this one with")
    parser.add_argument("text", type=Path, help="a folder of prose")
    parser.add_argument("--tokenizer", help="a given tokenizer.json", required=True)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args(argv)
    megabytes = sum(file.stat().st_size for file in args.text.rglob("*") if file.is_file()) / 1e6
    results = {"machine": machine(), "megabytes": megabytes}
    for kind, tokenizer in (("word", ""), ("given", args.tokenizer)):
        seconds = {"old": list[float](), "new": list[float]()}
        for _ in range(args.rounds):
            for name, checkout in (("old", args.old), ("new", ROOT)):
                seconds[name].append(cpu_seconds(checkout, args.text, tokenizer))
                print(kind, name, f"{seconds[name][-1]:.2f} s", flush=True)
        ratio = median(old / new for old, new in zip(*seconds.values(), strict=True))
        results[kind] = {"cpu_seconds": seconds, "ratio": round(ratio, 3)}
    args.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def cpu_seconds(checkout: Path, text: Path, tokenizer: str) -> float:
    """Prepares the text with the code of a checkout, in a process of its own and in one thread."""
    one_thread = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    place = str(checkout.resolve())
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(text.resolve()), tokenizer],
        cwd=place,
        env={**os.environ, **one_thread, "PYTHONPATH": place},
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
