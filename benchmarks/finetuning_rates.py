"""Fine-tunes a model at several learning rates and lengths, to choose the defaults.

python -m benchmarks.finetuning_rates MODEL DATASETS_FOLDER --name tiny_bert_8min \
    --grid optim.lr=3e-4,1e-3 trainer.max_epochs=5,10

Writes `benchmarks/finetuned/NAME/rates.json`: for each task and each combination the scores of the
validation split, which alone may choose. Existing combinations are kept.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from threading import Lock

from benchmarks.finetuning import RESULTS, TASKS, finetuned, in_turn
from benchmarks.machine import machine
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="the run or the folder to fine-tune")
    parser.add_argument("datasets", type=Path, help="the folder with banking77, vader and so on")
    parser.add_argument("--name", required=True, help="the model's name, and that of its results")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--grid", nargs="+", required=True, help="options, each NAME=VALUE,VALUE")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a core for each")
    args = parser.parse_args(argv)
    file, lock = RESULTS / args.name / "rates.json", Lock()
    rows = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    done = {row["command"] for row in rows}
    axes = [
        [f"{name}={value}" for value in values.split(",")]
        for name, _, values in (axis.partition("=") for axis in args.grid)
    ]

    def run(item: tuple[str, ...]) -> None:
        task, *point = item
        options = [*TASKS[task], *point, "baselines=false"]
        if f"python finetune.py {' '.join([*options, f'init_from={args.name}'])}" in done:
            return
        found = finetuned(args.model, args.name, args.datasets, options, args.jobs)
        summary = json.loads(found.summary)
        row = {"task": task, **dict(option.split("=") for option in point)}
        names = ("validation", "best_step", "steps", "training_seconds")
        with lock:
            rows.append({**row, **{n: summary[n] for n in names}, "command": found.command})
            file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"machine": machine(), "runs": rows}, indent=1) + "\n"
            file.write_text(text, encoding="utf-8")

    in_turn(run, list(product(args.tasks, *axes)), args.jobs)


if __name__ == "__main__":
    main()
