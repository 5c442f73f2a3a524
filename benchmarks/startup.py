"""Measures how long a run takes to start, in two checkouts: from process start to its first step.

python -m benchmarks.startup OLD_CHECKOUT NEW_CHECKOUT --python PLAIN_VENV/bin/python

Writes `benchmarks/startup.json`. The checkouts take turns, so that other load on the machine
affects both alike; each runs once before, unmeasured, to compile its modules and to prepare the
built-in corpus. Times end at a line on standard output: `corpus`, when everything is assembled,
and `step`, after the first optimizer step. Each is given in wall seconds and in CPU seconds
(user and system), which other load affects less.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "startup.json"
OPTIONS = (
    "data=builtin",
    "model=tiny",
    "trainer.max_steps=3",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=1",
)
MARKS = {"corpus": "corpus ", "step": "step 1/"}
"""How the line begins whose first appearance ends each time."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="another checkout")
    parser.add_argument("overrides", nargs="*", help="more options of train.py, after --")
    parser.add_argument("--runs", type=int, default=11, help="of each checkout (%(default)s)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of both")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the result goes")
    args = parser.parse_args(argv)
    checkouts = {"old": args.old.resolve(), "new": args.new.resolve()}
    about = machine()
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    with TemporaryDirectory() as folder:
        for number in range(args.runs + 1):
            for name in sorted(checkouts, reverse=number % 2 == 0):
                seconds = start_once(args.python, checkouts[name], Path(folder), args.overrides)
                if number:
                    measured[name].append(seconds)
                shown = "  ".join(f"{key} {value:6.2f}" for key, value in seconds.items())
                print(f"{number or 'first':>5}  {name}  {shown}", flush=True)
    result = {
        "options": [*OPTIONS, *args.overrides],
        "runs": args.runs,
        "machine": about,
        "transformers_installed": _has_transformers(args.python),
        "commits": {name: _commit(checkout) for name, checkout in checkouts.items()},
        **summary(measured),
        "each": measured,
    }
    args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def start_once(
    python: str, checkout: Path, folder: Path, overrides: Sequence[str]
) -> dict[str, float]:
    """Runs `train.py` once; returns the wall and CPU seconds until each mark and to the end."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(checkout), os.environ.get("PYTHONPATH", "")])
        ),
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [python, str(checkout / "train.py"), *OPTIONS, *overrides]
    printed: list[str] = []
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            for name, beginning in MARKS.items():
                if line.startswith(beginning) and name not in seconds:
                    seconds[name] = time.perf_counter() - began
                    used = psutil.Process(process.pid).cpu_times()
                    seconds[f"{name}_cpu"] = used.user + used.system
    seconds["whole"] = time.perf_counter() - began
    missing = [name for name in MARKS if name not in seconds]
    if process.returncode or missing:
        lines = "".join(printed)
        sys.exit(f"{' '.join(command)}\n{lines}exit code {process.returncode}, {missing=}")
    return seconds


def summary(measured: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Returns and prints the median and the least of each time, and the fraction that was saved."""

    def of_all(statistic: Callable[[Iterable[float]], float]) -> dict[str, dict[str, float]]:
        return {
            name: {key: round(statistic(run[key] for run in runs), 3) for key in runs[0]}
            for name, runs in measured.items()
        }

    found = {"median": of_all(median), "least": of_all(min)}
    saved = {
        statistic: {key: round(1 - of["new"][key] / old, 3) for key, old in of["old"].items()}
        for statistic, of in found.items()
    }
    for statistic, of in found.items():
        for key, fraction in saved[statistic].items():
            old, new = of["old"][key], of["new"][key]
            print(f"{statistic:<6}  {key:<10}  {old:6.2f} s → {new:6.2f} s: {fraction:.0%} less")
    return {**found, "saved_fraction": saved}


def _has_transformers(python: str) -> bool:
    """Returns whether that interpreter has the package that torchmetrics imports where it can."""
    look = "import sys, importlib.util; sys.exit(importlib.util.find_spec('transformers') is None)"
    return subprocess.run([python, "-c", look], check=False).returncode == 0


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()


if __name__ == "__main__":
    main()
