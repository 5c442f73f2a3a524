"""Compares the step time of two checkouts: their own model, loss and optimizer on the same batches.

python -m benchmarks.step_ratio OLD_CHECKOUT WIKITEXT_FOLDER

Each checkout has its own process, set up alike; the two take turns of several steps, so that other
load on the machine affects both alike. A ratio above 1 means that this checkout is faster. Equal
losses show that both take the same steps. Both checkouts must know the options of the overrides.
With --new-batches no batch is seen twice, as in training, where oneDNN may have to compile products
for the sizes of each. --cpu-seconds counts the processor's time instead of the clock's, which other
programs disturb less; it suits one thread. OLD may be this checkout, with another environment:
AVX512 beside AMX, for example, by --old-environment ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LAYOUTS = (
    ("benchmarks", "bert_lightning.cli.app", "bert_lightning.runs.allocator"),
    ("bert_lightning.benchmark", "bert_lightning.cli", "bert_lightning.training.allocator"),
)
"""Where a checkout keeps its benchmarks, its composing of configs and its memory allocator."""


class Turn(NamedTuple):
    """The steps of one turn."""

    losses: list[float]
    """Joint loss of each step, in nats."""
    seconds: float
    """Median step time."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path, help="the checkout to compare this one with")
    parser.add_argument("wikitext", type=Path, help="the folder with wiki.train.tokens")
    parser.add_argument("overrides", nargs="*", help="options of train.py, such as model=mini")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each (%(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a turn (%(default)s)")
    parser.add_argument("--new-batches", action="store_true", help="for each turn its own")
    parser.add_argument("--cpu-seconds", action="store_true", help="processor time, not the clock")
    parser.add_argument("--contestant", default="ours-bf16", choices=["ours-bf16", "ours-fp32"])
    parser.add_argument(
        "--old-environment", nargs="*", default=[], metavar="NAME=VALUE", help="for OLD alone"
    )
    parser.add_argument("--json", type=Path, help="where the result goes")
    args = parser.parse_intermixed_args(argv)
    from benchmarks.machine import machine

    checkouts = {"old": args.old.resolve(), "new": ROOT}
    about = machine()
    turns: dict[str, list[Turn]] = {name: [] for name in checkouts}
    with TemporaryDirectory() as folder:
        overrides = [f"data.path={args.wikitext.resolve()}", *args.overrides]
        of_old = dict(pair.split("=", 1) for pair in args.old_environment)
        kinds = args.rounds if args.new_batches else 1
        clock = "process_time" if args.cpu_seconds else "perf_counter"
        arguments = [args.contestant, str(args.steps), str(kinds), clock, *overrides]
        workers = {
            name: _start(checkout, arguments, f"{folder}/{name}", of_old if name == "old" else {})
            for name, checkout in checkouts.items()
        }
        for number in range(args.rounds):
            for name in sorted(workers, reverse=number % 2 == 0):
                turns[name].append(_ask(workers[name], number))
            old, new = turns["old"][-1], turns["new"][-1]
            same = "equal losses" if old.losses == new.losses else f"{old.losses} {new.losses}"
            print(f"old {old.seconds:.4f} s  new {new.seconds:.4f} s  {same}", flush=True)
            if args.json:  # so that an early end loses nothing
                result = _result(args, about, turns)
                args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        for worker in workers.values():
            worker.communicate()
    print(json.dumps(_result(args, about, turns), indent=2))


def _result(
    args: argparse.Namespace, about: dict[str, Any], turns: Mapping[str, list[Turn]]
) -> dict[str, Any]:
    ratios = [old.seconds / new.seconds for old, new in zip(*turns.values(), strict=True)]
    return {
        "overrides": args.overrides,
        "contestant": args.contestant,
        "old_environment": args.old_environment,
        "steps_per_turn": args.steps,
        "new_batches": args.new_batches,
        "seconds_of": "processor" if args.cpu_seconds else "clock",
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "machine": about,
        "median_step_seconds": {
            name: round(median(turn.seconds for turn in of), 5) for name, of in turns.items()
        },
        "ratio": round(median(ratios), 4),
        "ratio_quartiles": [round(value, 4) for value in quantiles(ratios)] if ratios[1:] else None,
        "equal_losses": all(
            old.losses == new.losses for old, new in zip(*turns.values(), strict=True)
        ),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


def _start(
    checkout: Path, arguments: list[str], cache: str, environment: Mapping[str, str]
) -> "subprocess.Popen[str]":
    """Starts this file as the process of a checkout, whose modules it then imports."""
    path = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    worker = subprocess.Popen(
        [sys.executable, "-P", __file__, "worker", str(checkout), *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "XDG_CACHE_HOME": cache,
            **environment,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert worker.stdout is not None
    if worker.stdout.readline() != "ready\n":
        sys.exit(f"the process of {checkout} failed")
    return worker


def _ask(worker: "subprocess.Popen[str]", number: int) -> Turn:
    """Lets a process take its turn with a number."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{number}\n")
    worker.stdin.flush()
    return Turn(*json.loads(worker.stdout.readline()))


def _layout() -> list[Any]:
    """Returns the modules measure, contestants, cli and allocator of the checkout in the path."""
    for benchmarks, cli, allocator in LAYOUTS:
        try:
            return [
                import_module(name)
                for name in (f"{benchmarks}.measure", f"{benchmarks}.contestants", cli, allocator)
            ]
        except ModuleNotFoundError as error:
            missing = error
    raise missing


def work(
    checkout: str, contestant_name: str, steps: str, kinds: str, clock: str, *overrides: str
) -> None:
    """Takes the turns whose numbers arrive on standard input; writes each one's losses and time.

    Turns take the batches of `kinds` turns, over and over; the untimed step has its own.
    """
    import torch

    measure, contestants, cli, allocator = _layout()
    config = cli.compose_for_script(Path(checkout) / "conf", overrides)
    of_turn, now = int(steps), getattr(time, clock)
    batches, vocab_size = measure.steps_of(config, of_turn * int(kinds) + 1)
    allocator.keep_freed_memory()
    makers = contestants.contestants(config, vocab_size, torch.device("cpu"))
    contestant = makers[contestant_name]()
    prepared = [contestant.prepare(batch) for batch in batches]
    print("ready", flush=True)
    for line in sys.stdin:
        torch.manual_seed(int(line))
        contestant.step(prepared[-1])  # untimed: the first step after a pause is slower
        losses, seconds = [], []
        first = int(line) % int(kinds) * of_turn
        for batch in prepared[first : first + of_turn]:
            since = now()
            losses.append(contestant.step(batch))
            seconds.append(now() - since)
        print(json.dumps([losses, median(seconds)]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(*sys.argv[2:])
    else:
        main()
