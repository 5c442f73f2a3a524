"""Measures how fast a corpus is prepared, what workers gain, and how long opening it takes.

python -m benchmarks.preparation WIKITEXT TEXT --tokenizer tokenizer.json

TEXT is a folder of prose, such as `benchmarks.varied_text` makes. Writes
`benchmarks/preparation.json`. Each preparation runs in its own process, and the tokenizer of each
process in one thread; seconds exclude the start of Python, but not that of workers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.machine import machine
from bert_lightning.config import CorpusConfig, CorpusSource, Format, PairsConfig, TokenizerConfig
from bert_lightning.config.corpus import DocumentUnit, PrepareConfig
from bert_lightning.corpus.preparation import tasks
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.sources import find_source, sentences_of
from bert_lightning.corpus.tokenizer import load_tokenizer
from bert_lightning.errors import exit_on_user_error
from bert_lightning.sizing.machine import peak_memory

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "preparation.json"
TASKS = ("keep_text", "count_in", "encode")
"""The functions that workers call, one after the other for all items."""
WORKERS = 4
"""Of the simulated schedule."""
TIMES_THE_TEXT = 16
"""The same schedule is simulated for so many times as much text."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wikitext", type=Path, help="the folder of WikiText-2's files")
    parser.add_argument("text", type=Path, help="a folder of prose")
    parser.add_argument("--tokenizer", help="a given tokenizer.json", required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # for the process of one preparation
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(MEASUREMENTS[args.measure.split(",")[0]](args, *args.measure.split(","))))
        return

    def measured(what: str, *more: str) -> dict[str, Any]:
        return in_a_process([*(argv or sys.argv[1:]), "--measure", ",".join([what, *more])])

    results: dict[str, Any] = {"machine": machine(), "text": described(args.text)}
    with TemporaryDirectory() as place:
        runs = [measured("wikitext", f"{place}/{n}") for n in range(args.repeat)]
        again = [measured("wikitext", f"{place}/0") for _ in range(args.repeat)]
        results["wikitext"] = {
            "prepare_seconds": statistics.median(run["seconds"] for run in runs),
            "open_seconds": statistics.median(run["seconds"] for run in again),
        }
        time.sleep(4)  # a file that has only just changed is hashed again when it is opened
        for kind in ("word", "given"):
            one, two = (measured("text", f"{place}/{kind}{n}", kind, n) for n in "12")
            opened = measured("text", f"{place}/{kind}1", kind, "1")
            results[kind] = {
                "megabytes_per_second": results["text"]["megabytes"] / one["cpu_seconds"],
                "one_worker": one,
                "two_workers": two,
                "open_seconds": opened["seconds"],
                "simulated": simulated(one),
            }
        results["given"]["library"] = measured("library", place)
    args.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def described(folder: Path) -> dict[str, Any]:
    """Returns what the text is: its megabytes, files, words, and how many of these differ."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    words, distinct = 0, set[str]()
    for file in files:
        found = file.read_text(encoding="utf-8").split()
        words, distinct = words + len(found), distinct.union(found)
    size = sum(file.stat().st_size for file in files) / 1e6
    return {
        "megabytes": size,
        "files": len(files),
        "words": words,
        "distinct_words": len(distinct),
    }


def in_a_process(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs this module on its own, with one thread for the tokenizer, and returns what it found."""
    command = [sys.executable, "-m", "benchmarks.preparation", *arguments]
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return json.loads(done.stdout)


def prepare_wikitext(args: argparse.Namespace, _: str, cache: str) -> dict[str, Any]:
    """Prepares WikiText-2, or opens it if it is in the cache."""
    data = CorpusConfig(source=CorpusSource.hub, path=str(args.wikitext.resolve()), cache_dir=cache)
    return timed(lambda: prepare(data, TokenizerConfig(), PairsConfig()))


def prepare_text(
    args: argparse.Namespace, _: str, cache: str, kind: str, workers: str
) -> dict[str, Any]:
    """Prepares the text, or opens it; with one worker, the seconds of each task are noted too."""
    data = text_config(args.text, cache, int(workers))
    tokenizer = TokenizerConfig(path=args.tokenizer if kind == "given" else None)
    seconds: dict[str, list[float]] = {name: [] for name in TASKS}
    if workers == "1":  # in this process
        for name, taken in seconds.items():
            setattr(tasks, name, noted(getattr(tasks, name), taken))
    return {**timed(lambda: prepare(data, tokenizer, PairsConfig())), "tasks": seconds}


def text_config(folder: Path, cache: str, workers: int) -> CorpusConfig:
    """Returns the options that keep all of the text; blank lines end its documents."""
    return CorpusConfig(
        source=CorpusSource.text,
        path=str(folder.resolve()),
        format=Format.prose,
        document=DocumentUnit.blank_line,
        min_sentences=1,
        cache_dir=cache,
        prepare=PrepareConfig(workers=workers),
    )


def tokenize_by_library(args: argparse.Namespace, _: str, place: str) -> dict[str, Any]:
    """Tokenizes all sentences by one call of the library for each million characters."""
    source = find_source(text_config(args.text, place, 1), 1)
    raw = (piece.raw_documents(source.data, LeftOut()) for piece in source.pieces())
    documents = sentences_of(chain.from_iterable(raw), source.data, LeftOut())
    tokenizer = load_tokenizer(args.tokenizer)
    taken = {"encode_batch": 0.0, "encode_batch_fast": 0.0}
    for document in documents:
        sentences = [*chain.from_iterable(document)]
        for name in taken:
            since = time.process_time()
            getattr(tokenizer, name)(sentences, add_special_tokens=False)
            taken[name] += time.process_time() - since
    size = described(args.text)["megabytes"]
    return {f"{name}_megabytes_per_second": size / seconds for name, seconds in taken.items()}


def noted(task: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        since = time.process_time()
        try:
            return task(*arguments)
        finally:
            seconds.append(time.process_time() - since)

    return run


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    """Returns the seconds of some work, those of the CPU with its workers, and its peak MiB."""
    since, before = time.perf_counter(), cpu_seconds()
    work()
    seconds = time.perf_counter() - since
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds() - before,
        "peak_mib": peak_memory() / 2**20,
    }


def cpu_seconds() -> float:
    """Returns the CPU seconds of this process and of those that it started and that have ended."""
    ended = psutil.Process().cpu_times()
    return time.process_time() + ended.children_user + ended.children_system


def simulated(measured: dict[str, Any]) -> dict[str, Any]:
    """Returns how many times faster a schedule of the measured tasks on `WORKERS` workers is."""
    rest = measured["cpu_seconds"] - sum(map(sum, measured["tasks"].values()))
    speedups = {}
    for times in (1, TIMES_THE_TEXT):
        busy = [scheduled(seconds * times, WORKERS) for seconds in measured["tasks"].values()]
        speedups[f"{times} times the text"] = (
            times * measured["cpu_seconds"] / (sum(busy) + times * rest)
        )
    return {"workers": WORKERS, "seconds_outside_tasks": rest, "speedup": speedups}


def scheduled(seconds: Sequence[float], workers: int) -> float:
    """Returns when the last worker ends if each takes the longest task that is left."""
    loads = [0.0] * workers
    for taken in sorted(seconds, reverse=True):
        loads[loads.index(min(loads))] += taken
    return max(loads)


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "wikitext": prepare_wikitext,
    "text": prepare_text,
    "library": tokenize_by_library,
}
"""What one process measures, by the first part of `--measure`."""


if __name__ == "__main__":
    main()
