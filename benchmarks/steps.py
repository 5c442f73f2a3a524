"""Measures the step time of this project, of Hugging Face's model and of textbook code.

python -m benchmarks.steps model=tiny data.path=wikitext-2 --rounds 7 --json benchmarks/steps.json

All take the same steps on the same batches, in turn; the machine's rate of large matrix products is
measured beside them. The overrides are those of train.py. Without a GPU, a round of the tiny model
takes half a minute. Hugging Face's model needs transformers: pip install 'bert-lightning[hf]'
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.contestants import NAMES
from benchmarks.machine import machine
from benchmarks.measure import measure
from benchmarks.steps_table import show
from bert_lightning.cli import app as cli
from bert_lightning.errors import UserError, exit_on_user_error

CONFIG = Path(__file__).parents[1] / "conf"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("overrides", nargs="*", help="as for train.py: model=tiny data.path=FOLDER")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="where the result goes")
    args = parser.parse_intermixed_args(argv)
    if find_spec("transformers") is None and any(name.startswith("hf") for name in args.only):
        others = " ".join(name for name in NAMES if not name.startswith("hf"))
        raise UserError(
            "Hugging Face's model needs transformers: pip install 'bert-lightning[hf]', "
            f"or leave it out with --only {others}"
        )
    config = cli.compose_for_script(CONFIG, args.overrides)
    about = machine()
    result = measure(config, args.only, args.rounds, torch.device(args.device))
    show(result)
    if args.json:
        command = ["python", "-m", "benchmarks.steps", *(argv or sys.argv[1:])]
        record = {"command": " ".join(command), "machine": about, **asdict(result)}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
