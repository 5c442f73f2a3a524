"""Measures preparing WikiText-2, opening it again, and time and memory for large text.

python -m benchmarks.preparation FOLDER --megabytes 200 2000

Writes `benchmarks/preparation.json`: medians of several runs, with the machine. Each preparation
runs in a process of its own, and its seconds do not hold those of starting Python.
"""

import argparse
import json
import re
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

RESULTS = Path(__file__).parents[1] / "benchmarks" / "data.json"


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
        results["large_text"] = {}
        for size in args.megabytes:
            text = Path(place) / "large.txt"
            once = (args.folder / "wiki.train.tokens").read_bytes()
            with text.open("wb") as stream:
                for _ in range(size * 10**6 // len(once)):
                    stream.write(once)
            time.sleep(4)  # a file that has just changed is hashed again at the next opening
            prepared, opened = (in_a_process(text, f"{place}/large-{size}") for _ in range(2))
            results["large_text"][f"{size} MB"] = {
                **prepared,
                "open_seconds": opened["seconds"],
            }
            text.unlink()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def in_a_process(path: Path, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, str(path), "--cache", cache]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure_preparing(path: Path, cache: str) -> dict[str, float]:
    source = CorpusSource.hub if path.is_dir() else CorpusSource.text
    start = time.perf_counter()
    prepare(
        CorpusConfig(source=source, path=str(path), cache_dir=cache),
        TokenizerConfig(),
        PairsConfig(),
    )
    seconds = time.perf_counter() - start
    # resource's ru_maxrss would begin with that of the process that started this one
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return {"seconds": seconds, "peak_mib": int(peak[1]) / 1024}


if __name__ == "__main__":
    main()
