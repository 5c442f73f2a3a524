"""Measures preparing WikiText-2, opening it again, making batches, and the memory for large text.

python scripts/benchmark_data.py FOLDER --megabytes 200 2000

Writes `benchmarks/data.json`: medians of several runs, with the machine. Each preparation runs in
a process of its own, and its seconds do not hold those of starting Python.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bert_lightning.config import DataConfig, Source, TokenizerConfig
from bert_lightning.data.batches import Share, TrainingBatches
from bert_lightning.data.prepare import prepare
from bert_lightning.errors import exit_on_user_error

RESULTS = Path(__file__).parents[1] / "benchmarks" / "data.json"
BATCHES = 40


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="WikiText-2's files")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[200], help="of large text")
    parser.add_argument("--cache", help=argparse.SUPPRESS)  # of one preparation, in its process
    args = parser.parse_args(argv)
    if args.cache:
        print(json.dumps(measure_preparing(args.folder, args.cache)))
        return
    results: dict[str, Any] = {"machine": machine(), "repeated": args.repeat}
    with TemporaryDirectory() as place:
        runs = [in_a_process(args.folder, f"{place}/{n}") for n in range(args.repeat)]
        results["prepare_seconds"] = statistics.median(run["seconds"] for run in runs)
        again = [in_a_process(args.folder, f"{place}/0") for _ in range(args.repeat)]
        results["open_seconds"] = statistics.median(run["seconds"] for run in again)
        results["batches"] = measure_batches(args.folder, f"{place}/0", args.repeat)
        results["peak_memory"] = {}
        for size in args.megabytes:
            text = Path(place) / "large.txt"
            once = (args.folder / "wiki.train.tokens").read_bytes()
            with text.open("wb") as stream:
                for _ in range(size * 10**6 // len(once)):
                    stream.write(once)
            results["peak_memory"][f"{size} MB"] = in_a_process(text, f"{place}/large-{size}")
            text.unlink()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def in_a_process(path: Path, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, str(path), "--cache", cache]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure_preparing(path: Path, cache: str) -> dict[str, float]:
    source = Source.hub if path.is_dir() else Source.text
    start = time.perf_counter()
    prepare(DataConfig(source=source, path=str(path), cache_dir=cache), TokenizerConfig())
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mib": peak / 1024}


def measure_batches(path: Path, cache: str, repeat: int) -> dict[str, float]:
    """Real tokens a second of one core, at length 128, over `BATCHES` batches of 512 pairs."""
    torch.set_num_threads(1)
    data = DataConfig(path=str(path), cache_dir=cache)
    corpus = prepare(data, TokenizerConfig())
    batches = TrainingBatches(corpus, data, 0, Share(0, 1, 512, 1), 10**6)
    rates = []
    for n in range(repeat):
        start = time.process_time()
        some = range(n * BATCHES, (n + 1) * BATCHES)
        tokens = sum(len(batches[i].sequences.token_ids) for i in some)
        rates.append(tokens / (time.process_time() - start))
    return {"tokens_per_cpu_second": statistics.median(rates)}


def machine() -> dict[str, Any]:
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return {"cores": os.cpu_count(), "system": system, "load_at_start": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
