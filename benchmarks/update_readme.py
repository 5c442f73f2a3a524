"""Runs the README's two training commands and copies their output and all tables into it.

python -m benchmarks.update_readme WIKITEXT_FOLDER

Writes `benchmarks/readme.json` (commands, output, summaries, the machine) and copies the output
between the README's markers. With `--only-copy` it runs nothing and copies the recorded results.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.preparation_table import preparation_table
from benchmarks.recipes_table import recipes_table
from benchmarks.steps_table import markdown

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "readme.json"
STEPS = {"steps": "steps.json", "steps-gpu": "steps-gpu.json"}
"""Files that `benchmarks.steps` wrote, by their marker in the README."""

COMMANDS = {
    "output": "python train.py model=tiny",
    "wikitext2": "python train.py data.path=wikitext-2 trainer.max_steps=300",
}
"""By their marker in the README: `make train` where the hub is out of reach, and WikiText-2."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the README's commands and update it.")
    parser.add_argument("wikitext", type=Path, help="the folder with wiki.train.tokens")
    parser.add_argument(
        "--only-copy", action="store_true", help="run nothing, copy the recorded results"
    )
    args = parser.parse_args()
    if not args.only_copy:
        RESULTS.write_text(
            json.dumps(record(args.wikitext.resolve()), indent=2) + "\n", encoding="utf-8"
        )
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


def record(wikitext: Path) -> dict[str, Any]:
    """Runs each command in its own folder, offline; returns its output and summary."""
    runs = {}
    for marker, command in COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            for name in ("train.py", "conf", "scripts"):
                (work / name).symlink_to(ROOT / name)
            (work / "wikitext-2").symlink_to(wikitext)
            done = subprocess.run(
                [sys.executable, *command.split()[1:], "hydra.run.dir=runs/first"],
                cwd=work,
                env={
                    **os.environ,
                    "HF_HUB_OFFLINE": "1",
                    "XDG_CACHE_HOME": f"{work}/cache",
                    "PYTHONIOENCODING": "utf-8",
                },
                capture_output=True,
                encoding="utf-8",
                check=True,
            )
            summary = json.loads((work / "runs" / "first" / "summary.json").read_text("utf-8"))
            output = done.stdout.replace(str(wikitext), "wikitext-2")
        summary["corpus_origin"] = summary["corpus_origin"].replace(str(wikitext), "wikitext-2")
        runs[marker] = {"command": command, "output": output.splitlines(), "summary": summary}
    return {"machine": machine(), "runs": runs}


def filled(readme: str) -> str:
    """Returns the README with the recorded output and tables between their markers."""
    blocks = {
        marker: markdown(json.loads((BENCHMARKS / name).read_text(encoding="utf-8")), name)
        for marker, name in STEPS.items()
    }
    prepared = json.loads((BENCHMARKS / "preparation.json").read_text(encoding="utf-8"))
    blocks["preparation"] = preparation_table(prepared)
    blocks["recipes"] = recipes_table(BENCHMARKS / "recipes")
    for marker, run in json.loads(RESULTS.read_text(encoding="utf-8"))["runs"].items():
        lines = run["output"][run["output"].index("") :]  # from the report on
        blocks[marker] = "\n".join(["```text", *lines[1:], "```"])
    for marker, block in blocks.items():
        begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
        before, _, rest = readme.partition(begin)
        readme = f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}"
    return readme


if __name__ == "__main__":
    main()
