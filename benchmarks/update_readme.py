"""Runs the README's two training commands, and copies their output and all tables into its pages.

python -m benchmarks.update_readme WIKITEXT_FOLDER

Writes `benchmarks/readme.json` (commands, output, summaries, the machine) and fills what lies
between markers in `README.md` and `docs/`. With `--only-copy` it runs nothing and copies the
recorded results.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import finetuning_table, first_path, readme_chinese, readme_tables
from benchmarks.downstream_table import downstream_table, models
from benchmarks.gpu_table import gpu_table
from benchmarks.machine import machine
from benchmarks.preparation_table import preparation_table
from benchmarks.race_tables import all_variants_table, records_table
from benchmarks.recipe_results import entries
from benchmarks.recipes_table import recipes_table
from benchmarks.steps_table import markdown

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "readme.json"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

COMMANDS = {
    "output": "python train.py model=tiny",
    "wikitext2": "python train.py model=tiny data.path=wikitext-2",
}
"""By their marker: `make train` where the hub is out of reach, and on WikiText-2."""


@cache
def _read(name: str) -> dict[str, Any]:
    return json.loads((BENCHMARKS / name).read_text(encoding="utf-8"))


BLOCKS: dict[str, Callable[[], str]] = {
    "output": lambda: _recorded("output"),
    "wikitext2": lambda: _recorded("wikitext2"),
    "numbers": readme_tables.numbers_table,
    "recipes-short": readme_tables.recipes_table,
    "finetuning-short": readme_tables.finetuning_table,
    "speed-short": readme_tables.speed_table,
    "path": readme_tables.path_table,
    "path-files": readme_tables.path_files_table,
    "recipes": lambda: recipes_table(BENCHMARKS / "recipes"),
    "records": lambda: records_table(entries()),
    "variants": lambda: all_variants_table(entries()),
    "downstream": lambda: downstream_table(models()),
    "steps": lambda: markdown(_read("steps.json"), "steps.json"),
    "steps-gpu": lambda: markdown(_read("steps-gpu.json"), "steps-gpu.json"),
    "gpu": lambda: gpu_table(_read("gpu.json")),
    "preparation": lambda: preparation_table(_read("preparation.json")),
    "first-path": lambda: first_path.table(_read("first_path.json")),
    "finetuning": finetuning_table.scores_table,
    "finetuning-speed": finetuning_table.speed_table,
}
"""What stands between the markers of a name, on whichever page has them."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the README's commands and update its pages.")
    parser.add_argument("wikitext", type=Path, help="the folder with wiki.train.tokens")
    parser.add_argument(
        "--only-copy", action="store_true", help="run nothing, copy the recorded results"
    )
    args = parser.parse_args()
    if not args.only_copy:
        RESULTS.write_text(
            json.dumps(record(args.wikitext.resolve()), indent=2) + "\n", encoding="utf-8"
        )
    for page in PAGES:
        page.write_text(filled(page), encoding="utf-8")
    readme_chinese.main()


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


def filled(page: Path) -> str:
    """Returns the text of a page with the recorded output and tables between their markers."""
    text = page.read_text(encoding="utf-8")
    for marker in re.findall(r"<!-- ([\w-]+):begin -->", text):
        if marker not in BLOCKS:
            continue  # `benchmarks.forecast` fills in its own
        begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
        block = BLOCKS[marker]()
        if page.parent != ROOT:
            block = re.sub(r"\]\((?=benchmarks/|bert_lightning/)", "](../", block)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}"
    return text


def _recorded(marker: str) -> str:
    """Returns the report that ends the output of a recorded run, and the run it is of."""
    run, where = _read(RESULTS.name)["runs"][marker], _read(RESULTS.name)["machine"]
    report = run["output"][run["output"].index("") + 1 :]
    seconds = run["summary"]["training_seconds"]
    about = (
        f"(`{run['command']}`: {seconds:,.0f} s of training on {where['cores']} cores of an "
        f"{where['processor']}, torch {where['torch']}; [`benchmarks/readme.json`]"
        "(benchmarks/readme.json))"
    )
    return "\n".join(["```text", *report, "```", "", about])


if __name__ == "__main__":
    main()
