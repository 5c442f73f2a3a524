"""Measures on one GPU, in under ten minutes, all that only a GPU can tell.

python -m benchmarks.gpu --text wikitext-2                  # an H100 or H200; all parts
python -m benchmarks.gpu rates steps-base-128               # these parts alone
python -m benchmarks.gpu --device cpu --small --json x.json # whether the script itself works

Each part is a process of its own with a limit of its own, and what it measures is in the results
file within a second. So a part that breaks is a recorded failure, an early end loses nothing, and a
later command adds the parts that it is given to the file. A part for which `--minutes` leave no
time says so; the most telling come first. It needs torch, lightning and this
project; without transformers or pytest the parts that need them say so. Without `--text`,
WikiText-2's folder, the pairs have made-up lengths of its mean.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch

from benchmarks.gpu_batches import Settings
from benchmarks.gpu_parts import PARTS
from benchmarks.machine import machine
from bert_lightning.errors import exit_on_user_error
from bert_lightning.files import write_text

ROOT = Path(__file__).parents[1]
LIMITS = {"steps": 150, "hf": 90, "equivalence": 60, "recipe": 120, "tests": 240}
"""The seconds of a part, by the first word of its name; of another 40."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes and few steps")
    parser.add_argument("--text", type=Path, help="the folder of WikiText-2")
    parser.add_argument("--minutes", type=float, default=10, help="of all parts (%(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "gpu.json")
    args = parser.parse_args(argv)
    if unknown := {*args.parts} - {*PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    text = str(args.text.resolve()) if args.text else None
    settings = Settings(args.device, args.small, text)
    about: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.gpu", *(argv or sys.argv[1:])])
    }
    about |= {"machine": machine(), "small": args.small}
    found = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {}
    ends = time.monotonic() + 60 * args.minutes
    for name in args.parts or PARTS:
        found[name] = {**about, "outcome": "begun", "results": []}
        limit = min(ends - time.monotonic(), LIMITS.get(name.partition("-")[0], 40))
        if limit > 0:
            run(name, settings, limit, found, args.json)
        else:
            found[name]["outcome"] = f"not begun: --minutes {args.minutes:g} were over"
        save(found, args.json)
        print(f"{name}: {found[name]['outcome']}", flush=True)
        for result in found[name]["results"]:
            print(f"  {json.dumps(result)}", flush=True)


def run(name: str, settings: Settings, limit: float, found: dict[str, Any], path: Path) -> None:
    """Runs a part; each second `found` and the file get what it has measured so far."""
    with TemporaryDirectory() as folder:
        results, said = Path(folder) / "results.jsonl", Path(folder) / "said.txt"
        results.touch()
        command = [sys.executable, "-m", "benchmarks.gpu_parts", name, str(results)]
        begun = time.monotonic()
        with said.open("wb") as output:
            process = subprocess.Popen(
                [*command, json.dumps(settings._asdict())],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            code = _follow(process, begun + limit, results, found[name], lambda: save(found, path))
        finally:
            if process.poll() is None:
                _end(process)
        if code is None:
            outcome = f"ended by its limit of {limit:.0f} s"
        elif code != 0:
            last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
            outcome = f"failed with exit code {code}: " + " | ".join(last)
        else:
            outcome = "done"
        found[name] |= {"outcome": outcome, "seconds": round(time.monotonic() - begun, 1)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a part and all that it started."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait()


def _follow(
    process: "subprocess.Popen[bytes]", ends: float, results: Path, part: dict[str, Any], kept: Any
) -> int | None:
    """Returns a part's exit code, or None at its limit; saves each new result."""
    while True:
        code = process.poll()
        lines = results.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        if len(whole) > len(part["results"]):
            part["results"] = whole
            kept()
        if code is not None or time.monotonic() >= ends:
            return code
        time.sleep(0.5)


def save(found: dict[str, Any], path: Path) -> None:
    """Writes all results, in one atomic write."""
    write_text(path, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
