"""Fine-tunes a pretrained model to five labelled tasks, and keeps the results.

python -m benchmarks.finetuning MODEL DATASETS_FOLDER --name tiny_bert_8min

Writes `benchmarks/finetuned/NAME/TASK/`: `results.json` with every model, seed and interval, the
command and the machine; the whole config; and the log. Replaces existing results only with
`--overwrite`. Further options go to `finetune.py`, such as `learning_curve=true`.
`python -m benchmarks.finetuning_table` makes the tables of the docs of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.machine import machine
from bert_lightning.errors import UserError, exit_on_user_error

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "finetuned"
TASKS = {
    "banking77": ["task=text", "data.path=datasets/banking77"],
    "vader": [
        "task=number",
        "data.path=datasets/vader/movieReviewSnippets_GroundTruth.txt",
        "data.columns=[id,label,text]",
    ],
    "stsb": [
        "task=number",
        "data.path=datasets/stsb/stsb-en-train.csv",
        "data.validation_path=datasets/stsb/stsb-en-dev.csv",
        "data.test_path=datasets/stsb/stsb-en-test.csv",
        "data.columns=[text,text_pair,label]",
    ],
    "wnut17": ["task=tokens", "data.path=datasets/wnut17"],
    "ud-ewt": ["task=tokens", "data.path=datasets/ud-ewt"],
}
"""Their options, in a folder where `datasets` is the folder of labelled data."""


Item = TypeVar("Item")


class Finetuned(NamedTuple):
    """What a run leaves behind."""

    command: str
    summary: str
    """The text of `summary.json`."""
    results: str | None
    """The text of `results.json`, which a comparison writes."""
    config: str
    log: str


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="the run or the folder to fine-tune")
    parser.add_argument("datasets", type=Path, help="the folder with banking77, vader and so on")
    parser.add_argument("overrides", nargs="*", help="options of finetune.py")
    parser.add_argument("--name", required=True, help="the model's name, and that of its results")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="tasks at a time, a core for each")
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    args = parser.parse_intermixed_args(argv)
    keep = {task: RESULTS / args.name / task for task in args.tasks}
    for folder in keep.values():
        if folder.exists() and not args.overwrite:
            raise UserError(f"{folder.relative_to(ROOT)} exists: --overwrite replaces it")

    def run(task: str) -> None:
        about = machine()
        options = [*TASKS[task], f"seeds={args.seeds}", *args.overrides]
        done = finetuned(args.model, args.name, args.datasets, options, args.jobs)
        made = {"command": done.command, "beside_other_runs": args.jobs - 1}
        found = json.loads(done.results or "{}") | {"machine": about}
        keep[task].mkdir(parents=True, exist_ok=True)
        for name, text in {
            "results.json": json.dumps(made | found, indent=2, ensure_ascii=False) + "\n",
            "config.json": done.config,
            "log.txt": done.log,
        }.items():
            (keep[task] / name).write_text(text, encoding="utf-8")

    in_turn(run, args.tasks, args.jobs)


def finetuned(
    model: Path, name: str, datasets: Path, options: Sequence[str], jobs: int
) -> Finetuned:
    """Runs `finetune.py` on a model, called `name` in what is kept; shows its last lines."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / name).symlink_to(model.resolve())
        (folder / "datasets").symlink_to(datasets.resolve())
        options = [*options, f"init_from={name}"]
        threads = {"OMP_NUM_THREADS": "1"} if jobs > 1 else {}
        done = subprocess.run(
            [sys.executable, str(ROOT / "finetune.py"), *options, "run_dir=run", "logger=csv"],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **threads},
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        if done.returncode:
            raise SystemExit(done.returncode)  # it has said why

        def plain(text: str) -> str:
            for path, shown in ((datasets, "datasets"), (model, name)):
                text = text.replace(str(path.resolve()), shown)
            return text.replace(f"{folder}{os.sep}", "")

        def text(file: str) -> str:
            return plain((folder / "run" / file).read_text(encoding="utf-8"))

        command = f"python finetune.py {' '.join(options)}"
        print(f"{command}\n{done.stdout}", flush=True)
        has_results = (folder / "run" / "results.json").exists()
        return Finetuned(
            command,
            text("summary.json"),
            text("results.json") if has_results else None,
            text("run.json"),
            plain(done.stdout),
        )


def in_turn(run: Callable[[Item], None], items: Sequence[Item], jobs: int) -> None:
    """Runs all items, `jobs` at a time; ends with the first error."""
    with ThreadPoolExecutor(jobs) as executor:
        list(executor.map(run, items))


if __name__ == "__main__":
    main()
