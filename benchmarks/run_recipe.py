"""Trains a recipe on WikiText-2 or on another text, evaluates it, and keeps the results.

python -m benchmarks.run_recipe tiny_8min WIKITEXT_FOLDER --seed 0
python -m benchmarks.run_recipe chinese_tiny 'poems/*.json' data.text_column=paragraphs

Writes `benchmarks/recipes/NAME/seed=N/`: the whole config, the log, and `result.json` with the
command, the machine, the validation losses over the seconds of training, and both evaluations.
Replaces existing results only with `--overwrite`. `python -m benchmarks.update_readme` makes the
README's table of them.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from bert_lightning.errors import UserError, exit_on_user_error

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "recipes"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
CURVES = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", help="a file of conf/experiment")
    parser.add_argument("text", type=Path, help="the folder with wiki.train.tokens, or other text")
    parser.add_argument("overrides", nargs="*", help="further options, such as a shorter run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="a finished run to evaluate instead of training")
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    args = parser.parse_intermixed_args(argv)
    keep = RESULTS / args.experiment / f"seed={args.seed}"
    if keep.exists() and not args.overwrite:
        raise UserError(f"{keep.relative_to(ROOT)} exists: --overwrite replaces it")
    place, pattern = (args.text, "") if args.text.exists() else (args.text.parent, args.text.name)
    text = Path("wikitext-2" if (place / "wiki.train.tokens").is_file() else "text", pattern)
    options = f"experiment={args.experiment} data.path={text} seed={args.seed} logger=csv"
    options = " ".join([options, *args.overrides])
    about = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / text.parts[0]).symlink_to(place.resolve())
        run = args.run.resolve() if args.run else folder / "run"
        if not args.run:
            printed = python(folder, ROOT / "train.py", *options.split(), f"hydra.run.dir={run}")
            (run / "train.log").write_text(printed, encoding="utf-8")
        made = {"command": f"python train.py {options}", "machine": about, **outcome(folder, run)}
        kept = {
            "log.txt": (run / "train.log").read_text(encoding="utf-8"),
            "config.json": (run / "run.json").read_text(encoding="utf-8"),
            "result.json": json.dumps(made, indent=2) + "\n",
        }
    keep.mkdir(parents=True, exist_ok=True)
    for name, content in kept.items():
        shown = content.replace(str(place.resolve()), text.parts[0]).replace(str(run), "run")
        (keep / name).write_text(shown, encoding="utf-8")


def outcome(folder: Path, run: Path) -> dict[str, Any]:
    """Returns the size of the run, its validations over time, and its evaluations."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    names = ("steps", "repeat", "epochs", "pairs", "real_tokens", "training_seconds", "parameters")
    evaluate = ROOT / "scripts" / "evaluate.py"
    return {
        **{name: summary[name] for name in (*names, "pairs_per_second", "devices")},
        "validations": validations(run),
        **{
            split: json.loads(python(folder, evaluate, str(run), "--split", split, "--json"))
            for split in ("validation", "test")
        },
    }


def validations(run: Path) -> list[dict[str, float]]:
    """Returns each validation in the run's CSV file with the seconds of training before it."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seconds = {
        row["step"]: float(row["work/training_seconds"])
        for row in rows
        if row["work/training_seconds"]
    }
    return [
        {"step": int(row["step"]), "seconds": round(seconds[row["step"]], 2)}
        | {name: round(float(row[f"val/{name}"]), 4) for name in CURVES}
        for row in rows
        if row["val/mlm_loss"]
    ]


def python(folder: Path, *arguments: str | Path) -> str:
    """Runs a script of this project as a user would; shows and returns what it prints."""
    command = [sys.executable, "-u", *map(str, arguments)]
    printed = []
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **OFFLINE}, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if process.returncode:
        raise SystemExit(process.returncode)  # it has said why
    return "".join(printed)


if __name__ == "__main__":
    main()
