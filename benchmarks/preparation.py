"""Measures how long preparing a corpus takes, how long opening it again, and the peak memory.

python -m benchmarks.preparation FOLDER --megabytes 200 2000

Writes `benchmarks/preparation.json`: medians of several runs on WikiText-2, and one run for each
size of large text. Each preparation runs in its own process; its seconds exclude the start of
Python.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import machine
from bert_lightning.config import CorpusConfig, CorpusSource, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.errors import exit_on_user_error
from bert_lightning.sizing.machine import peak_memory

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "preparation.json"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="WikiText-2's files")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--megabytes", type=int, nargs="*", default=[200], help="sizes of large text"
    )
    parser.add_argument("--cache", help=argparse.SUPPRESS)  # for the process of one preparation
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
        results["large_text"] = {}
        for size in args.megabytes:
            text = Path(place) / "large.txt"
            once = (args.folder / "wiki.train.tokens").read_bytes()
            with text.open("wb") as stream:
                for _ in range(size * 10**6 // len(once)):
                    stream.write(once)
            time.sleep(4)  # a file that has only just changed is hashed again when it is opened
            prepared, opened = (in_a_process(text, f"{place}/large-{size}") for _ in range(2))
            results["large_text"][f"{size} MB"] = {
                **prepared,
                "open_seconds": opened["seconds"],
            }
            text.unlink()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def in_a_process(path: Path, cache: str) -> dict[str, float]:
    """Runs :func:`measure_preparing` in its own process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.preparation",
        str(path.resolve()),
        "--cache",
        cache,
    ]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def measure_preparing(path: Path, cache: str) -> dict[str, float]:
    """Prepares a corpus, or opens it if it is in the cache; returns the seconds and peak MiB."""
    source = CorpusSource.hub if path.is_dir() else CorpusSource.text
    start = time.perf_counter()
    prepare(
        CorpusConfig(source=source, path=str(path), sentences="wikitext", cache_dir=cache),
        TokenizerConfig(),
        PairsConfig(),
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": peak_memory() / 2**20}


if __name__ == "__main__":
    main()
