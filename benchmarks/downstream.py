"""Does a lower loss help downstream? The losses of recipes beside what their models are good for.

python -m benchmarks.downstream
python -m benchmarks.downstream --measure tiny_8min/seed=0 RUN DATASETS_FOLDER

The first draws `docs/pictures/downstream.png` and prints the table, of the results that there are,
and says which are missing. The second measures a run that `scripts/run_recipe.py --run RUN` kept,
on BLiMP (`DATASETS_FOLDER/blimp`) and by a probe for parts of speech (`DATASETS_FOLDER/ud-ewt`),
and writes `downstream.json` beside the run's `result.json`. Fine-tuning gains are those of
`benchmarks.finetuning RUN DATASETS_FOLDER --name NAME`, where NAME is `tiny_8min`, and
`tiny_8min_VARIANT` for a variant.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.downstream_table import downstream_figure, downstream_table, models
from benchmarks.machine import machine
from benchmarks.recipe_results import RECIPES, ROOT
from benchmarks.run_recipe import commit, python, shown
from bert_lightning.errors import UserError, exit_on_user_error

PICTURE = ROOT / "docs" / "pictures" / "downstream.png"
PROBE = ("task=tokens", "data.train_examples=1000")


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--measure", nargs=3, type=Path, metavar=("RESULT", "RUN", "DATASETS"))
    args = parser.parse_args(argv)
    if args.measure is not None:
        result, run, datasets = args.measure
        measure(RECIPES / result, run, datasets)
        return
    found = models()
    print(downstream_table(found))
    for model in found:
        if model.missing:
            print(f"missing of {model.name}: {', '.join(model.missing)}")
    downstream_figure(found).save(PICTURE)
    print(f"saved {shown(PICTURE)}")


def measure(keep: Path, run: Path, datasets: Path) -> None:
    """Measures a run on BLiMP and by a probe; writes `downstream.json` beside its result.

    Raises:
        UserError: there is no such result, it has been measured, or the run is another one.
    """
    file, summary = keep / "downstream.json", run / "summary.json"
    for needed in (keep / "result.json", summary):
        if not needed.exists():
            raise UserError(f"{shown(needed)} does not exist: name a kept result and its run")
    if file.exists():
        raise UserError(f"{shown(file)} exists, and results are never overwritten: remove it first")
    kept = json.loads((keep / "result.json").read_text(encoding="utf-8"))
    trained = json.loads(summary.read_text(encoding="utf-8"))
    for name in ("training_seconds", "steps"):
        if kept[name] != trained[name]:
            raise UserError(
                f"{run} is not the run of {shown(keep)}: {name} is {trained[name]}, and not "
                f"{kept[name]}"
            )
    data, place = datasets.resolve(), str(run.resolve())
    commands = {
        "blimp": ["minimal_pairs.py", place, f"{data / 'blimp'}"],
        "probe": ["probe.py", place, *PROBE, f"data.path={data / 'ud-ewt'}"],
    }
    made: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit()}
    made["machine"] = machine()
    for name, (script, *arguments) in commands.items():
        since = time.perf_counter()
        found = python(Path.cwd(), ROOT / "scripts" / script, *arguments, "--json", show=False)
        made[name] = {"seconds": round(time.perf_counter() - since, 1), **json.loads(found)}
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    for path, short in {place: "run", f"{data}{os.sep}": "datasets/"}.items():
        text = text.replace(path, short)
    file.write_text(text, encoding="utf-8")
    print(f"kept {shown(file)}")


if __name__ == "__main__":
    main()
