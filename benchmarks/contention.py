"""Measures what a run keeps of its throughput where other programs use the same cores.

python -m benchmarks.contention WIKITEXT_FOLDER

Writes `benchmarks/contention.json`. Each setting of OpenMP's waiting (`runs/cores/waiting.py`) has
its own process, which takes training steps in its turn: alone, beside one and two programs that
compute without end at a lower priority, and beside another training with the same setting. What it
keeps is its throughput divided by its fair one: that of libgomp's own setting alone, times the
fraction of the cores that is due to its threads by their priority. All processes belong to one
session, as Linux divides cores first among sessions.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil
import torch

from benchmarks.contestants import contestants
from benchmarks.machine import machine
from benchmarks.measure import steps_of
from bert_lightning.cli import app as cli
from bert_lightning.runs.allocator import keep_freed_memory
from bert_lightning.runs.cores.contention import fraction_run, thread_times
from bert_lightning.runs.cores.waiting import SPIN_COUNT, SPINS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "contention.json"
OWN = "libgomp's own"
SITUATIONS = ("alone", "one program", "two programs", "another training")
_STEPS = 4
"""Batches that a process has ready, and takes one after the other."""


class Turn(NamedTuple):
    """What a process did in one turn."""

    pairs_per_second: float
    cores: float
    """Those that it used on average, its threads' waiting with open eyes included."""
    ran: float | None
    """The fraction of the time in which its threads could run that they did run."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wikitext", type=Path, help="the folder with wiki.train.tokens")
    parser.add_argument("overrides", nargs="*", help="options of train.py, such as model=mini")
    parser.add_argument("--spins", type=int, nargs="*", default=[], help="more settings")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (%(default)s)")
    parser.add_argument("--nice", type=int, default=10, help="of the programs (%(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the result goes")
    args = parser.parse_intermixed_args(argv)
    about = machine()
    settings = {OWN: {}, "one thread": {"OMP_NUM_THREADS": "1"}}
    settings |= {f"{count}": {SPIN_COUNT: f"{count}"} for count in sorted({SPINS, *args.spins})}
    options = [f"data.path={args.wikitext.resolve()}", "model=tiny", "batch.global_batch_size=256"]
    options += args.overrides
    workers = {name: [_start(of, options) for _ in range(2)] for name, of in settings.items()}
    everyone = [worker for pair in workers.values() for worker in pair]
    for worker in everyone:
        assert _line(worker) == "ready\n", "a process ended before it was ready"
    turns: dict[str, dict[str, list[Turn]]] = {
        situation: {name: [] for name in settings} for situation in SITUATIONS
    }
    for number in range(args.rounds):
        for situation in SITUATIONS:
            for name in sorted(settings, reverse=number % 2 == 1):
                with beside(situation, args.nice):
                    found = _turn(workers[name], situation == SITUATIONS[3], args.seconds)
                turns[situation][name].append(found)
                print(f"{number + 1}  {situation:<17}{name:<15}{found}", flush=True)
    for worker in everyone:
        worker.communicate()
    given = argv if argv is not None else sys.argv[1:]
    shown = [text.replace(str(args.wikitext), args.wikitext.name) for text in given]
    result = {
        "command": " ".join(["python", "-m", "benchmarks.contention", *shown]),
        "machine": about,
        "threads": torch.get_num_threads(),
        "options": [f"data.path={args.wikitext.name}", *options[1:]],
        **summary(turns, args.nice, os.cpu_count() or 1, torch.get_num_threads()),
        "each": turns,
    }
    args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def fair_fraction(situation: str, nice: int, cores: int, threads: int) -> float:
    """Returns the fraction of its throughput alone that a run with one thread a core may expect.

    Linux weighs a program's priority by 1.25 for each step of `nice`; no thread uses two cores.
    """
    if situation == SITUATIONS[3]:
        return 0.5
    others = SITUATIONS.index(situation)
    if threads + others <= cores:
        return 1.0
    return min(1.0, cores / (threads + others * 1.25**-nice))


def summary(
    turns: Mapping[str, Mapping[str, Sequence[Turn]]], nice: int, cores: int, threads: int
) -> dict[str, Any]:
    """Returns and prints the medians of each setting in each situation, and what it keeps."""
    alone = median(turn.pairs_per_second for turn in turns[SITUATIONS[0]][OWN])
    found: dict[str, Any] = {}
    for situation, settings in turns.items():
        fair = fair_fraction(situation, nice, cores, threads)
        found[situation] = {"fair_pairs_per_second": round(alone * fair, 1)}
        for name, of in settings.items():
            rate = median(turn.pairs_per_second for turn in of)
            ran = [turn.ran for turn in of if turn.ran is not None]
            kept = {
                "pairs_per_second": round(rate, 1),
                "kept": round(rate / (alone * fair), 3),
                "cores": round(median(turn.cores for turn in of), 2),
                "ran": round(median(ran), 3) if ran else None,
            }
            found[situation][name] = kept
            print(
                f"{situation:<17}{name:<15}{rate:7.0f} pairs/s, {kept['kept']:.2f} of the fair rate"
            )
    return {"median": found}


@contextmanager
def beside(situation: str, nice: int) -> Iterator[None]:
    """A context in which as many programs compute as the situation says."""
    count = SITUATIONS.index(situation) % 3
    code = "print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", code]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    for program in programs:
        psutil.Process(program.pid).nice(nice)
        assert program.stdout is not None
        program.stdout.readline()
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def _turn(workers: "Sequence[subprocess.Popen[str]]", both: bool, seconds: float) -> Turn:
    """Lets the first process work, and the other one beside it if asked."""
    asked = workers if both else workers[:1]
    for worker in asked:
        assert worker.stdin is not None
        worker.stdin.write(f"{seconds}\n")
        worker.stdin.flush()
    measured, *_ = [Turn(*json.loads(_line(worker))) for worker in asked]
    return measured


def _start(setting: Mapping[str, str], options: Sequence[str]) -> "subprocess.Popen[str]":
    ours = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", SPIN_COUNT)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.contention", "worker", *options],
        cwd=ROOT,
        env={**environment, **setting},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def _line(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


def work(options: Sequence[str]) -> None:
    """Takes steps for as many seconds as arrive on standard input, and tells what it did."""
    config = cli.compose_for_script(ROOT / "conf", options)
    batches, vocab_size = steps_of(config, _STEPS)
    keep_freed_memory()
    contestant = contestants(config, vocab_size, torch.device("cpu"))["ours-bf16"]()
    prepared = [contestant.prepare(batch) for batch in batches]
    contestant.step(prepared[0])
    print("ready", flush=True)
    for line in sys.stdin:
        steps, before, since = 0, thread_times(), time.perf_counter()
        used = time.process_time()
        while (seconds := time.perf_counter() - since) < float(line):
            contestant.step(prepared[steps % _STEPS])
            steps += 1
        used, ran = time.process_time() - used, fraction_run(before, thread_times())
        rate = steps * config.batch.global_batch_size / seconds
        print(json.dumps([round(rate, 1), round(used / seconds, 3), ran]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2:])
    else:
        main()
