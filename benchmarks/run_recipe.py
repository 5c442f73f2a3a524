"""Trains a recipe or a variant of it, evaluates it, and keeps the results.

`python scripts/run_recipe.py` is the command, and says how to use it.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.machine import machine
from benchmarks.recipe_results import ROOT
from bert_lightning.errors import UserError
from bert_lightning.runs.cores.waiting import BUSY, SPIN_COUNT

QUIET = BUSY / 2
"""The load for each core from which a recording waits: half of what changes how threads wait."""
TEACHER = "teacher_{}"
"""What a teacher is called in the options of the run that learns from it."""
CURVES = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")


class Text(NamedTuple):
    """The text to train on."""

    options: list[str]
    """Those that name it, with `shown` for its place."""
    place: Path | None
    """The folder that `shown` stands for; None for a text that no path on this machine names."""
    shown: str


def text_of(options: Sequence[str]) -> Text:
    """Returns the text that `data.path` names, or the recipe's own, never another in its place."""
    paths = [option.partition("=")[2] for option in options if option.startswith("data.path=")]
    if not paths:
        return Text([*options, "data.fallback=null"], None, "")
    others = [option for option in options if not option.startswith("data.path=")]
    if "://" in paths[-1]:
        return Text([f"data.path={paths[-1]}", *others], None, "")
    path = Path(paths[-1])
    if not glob(str(path), recursive=True):  # noqa: PTH207  a pattern from anywhere
        raise UserError(f"data.path={path}: there is no {path.absolute()}")
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    pattern = path.relative_to(place)
    shown = "wikitext-2" if (place / "wiki.train.tokens").is_file() else "text"
    return Text([f"data.path={Path(shown, pattern)}", *others], place.resolve(), shown)


def measure(
    recipe: str,
    options: Sequence[str],
    seed: int,
    keep: Path,
    run: Path | None = None,
    teachers: Sequence[Path] = (),
) -> dict[str, Any]:
    """Trains and evaluates in one go; writes `config.json`, `log.txt` and `result.json` to `keep`.

    Args:
        recipe: The name of a file of `conf/experiment`.
        options: Further options; those of `data.*` say what the text is.
        seed: Of the run.
        keep: A folder that does not exist yet.
        run: The folder of the run, which is otherwise removed. A finished run is not repeated.
        teachers: Finished runs that the options name as `TEACHER` does.

    Returns:
        What `result.json` holds.
    """
    if keep.exists():
        raise UserError(
            f"{shown(keep)} exists, and results are never overwritten: name another --variant or "
            "--seed, or remove the folder"
        )
    taught_by = [about_teacher(teacher) for teacher in teachers]
    text = text_of([option for option in options if option.startswith("data.")])
    differing = [option for option in options if not option.startswith("data.")]
    arguments = [f"experiment={recipe}", *text.options, f"seed={seed}", "logger=csv", *differing]
    if run is None or not (run / "summary.json").exists():
        wait_until_quiet()
    begun = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if text.place is not None:
            (folder / text.shown).symlink_to(text.place)
        for number, teacher in enumerate(teachers):
            (folder / TEACHER.format(number)).symlink_to(teacher.resolve())
        run = folder / "run" if run is None else run.resolve()
        if not (run / "summary.json").exists():
            printed = python(folder, ROOT / "train.py", *arguments, f"run_dir={run}")
            (run / "train.log").write_text(printed, encoding="utf-8")
        made = {
            "command": f"python train.py {' '.join(arguments)}",
            "recipe": recipe,
            "options": differing,
            **begun,
            **({"teachers": taught_by, **together(folder, len(teachers))} if teachers else {}),
            **outcome(folder, run),
        }
        kept = {
            "log.txt": (run / "train.log").read_text(encoding="utf-8"),
            "config.json": (run / "run.json").read_text(encoding="utf-8"),
            "result.json": json.dumps(made, indent=2) + "\n",
        }
    short_names = {str(text.place): text.shown} if text.place else {}
    short_names |= {f"--logdir {run.parent}": "--logdir .", str(run): "run"}
    short_names |= {f"{ROOT}{os.sep}": "", str(Path.home()): "~"}
    keep.mkdir(parents=True)
    for name, content in kept.items():
        for path, short in short_names.items():
            content = content.replace(path, short)
        (keep / name).write_text(content, encoding="utf-8")
    print(f"kept        {shown(keep)}")
    return made


def wait_until_quiet() -> None:
    """Waits while the machine is busy, also by an earlier recording, and says so each minute.

    The threads of a run that begins on a busy machine soon sleep where others look for work, which
    costs a tenth or more of its steps: recordings one after the other would not compare.
    """
    told, limit = -float("inf"), QUIET * (os.cpu_count() or 1)
    while (load := psutil.getloadavg()[0]) >= limit:
        if time.monotonic() - told >= 60:
            print(f"waiting     load {load:.2f}: recordings begin below {limit:g}", flush=True)
            told = time.monotonic()
        time.sleep(1)


def outcome(folder: Path, run: Path) -> dict[str, Any]:
    """Returns the size of the run, its validations over time, and its evaluations."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    names = ("steps", "repeat", "epochs", "pairs", "real_tokens", "training_seconds", "parameters")
    evaluate = ROOT / "scripts" / "evaluate.py"
    return {
        **{name: summary[name] for name in (*names, "pairs_per_second", "devices")},
        "validations": validations(run),
        **{
            split: json.loads(
                python(folder, evaluate, str(run), "--split", split, "--json", show=False)
            )
            for split in ("validation", "test")
        },
    }


def about_teacher(run: Path) -> dict[str, Any]:
    """Returns what made a teacher, and its scores; a UserError if its run has not finished."""
    if not (run / "summary.json").is_file():
        raise UserError(f"--teacher {run}: there is no {run.absolute()} with a summary.json")
    summary, config = (
        json.loads((run / name).read_text(encoding="utf-8"))
        for name in ("summary.json", "run.json")
    )
    scores = {name: summary["validation"][name] for name in ("mlm_loss", "nsp_accuracy")}
    names = ("corpus", "steps", "training_seconds", "config_hash")
    return {"seed": config["seed"], **{name: summary[name] for name in names}, **scores}


def together(folder: Path, teachers: int) -> dict[str, Any]:
    """Returns what the teachers of a run in this folder predict together."""
    names = [TEACHER.format(number) for number in range(teachers)]
    printed = python(folder, ROOT / "benchmarks" / "ensemble.py", *names, show=False)
    return {"teachers_together": json.loads(printed)}


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


def commit() -> str | None:
    """Returns the commit of this checkout, marked where its files differ; None outside of git."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty= with changes", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout.strip() or None


def shown(path: Path) -> str:
    """Returns a path as one reads it: from the checkout on, where it lies in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def python(folder: Path, *arguments: str | Path, show: bool = True) -> str:
    """Runs a script of this project as a user would; returns what it prints, line by line shown.

    How its threads wait is not inherited, as this process may have begun on a busier machine.
    """
    command = [sys.executable, "-u", *map(str, arguments)]
    printed = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != SPIN_COUNT}
        | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if show:
                print(line, end="", flush=True)
            printed.append(line)
    if process.returncode:
        raise SystemExit(process.returncode)  # it has said why
    return "".join(printed)
