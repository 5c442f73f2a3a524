"""Prints what a run will cost, before it is started: parameters, FLOPs, memory and hours.

python scripts/plan.py model=large batch.max_length=512 trainer.devices=8 --tokens 3.3e9

Needs neither a GPU nor a corpus.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bert_lightning.cli import app as cli
from bert_lightning.errors import exit_on_user_error
from bert_lightning.reports.plan_report import show_plan
from bert_lightning.sizing.plan import PlanOptions

CONFIG = Path(__file__).parents[1] / "conf"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print what a run will cost.")
    parser.add_argument("overrides", nargs="*", help="as for train.py: model=large")
    parser.add_argument(
        "--tokens", type=float, help="real tokens to train on (default: those of the run's steps)"
    )
    parser.add_argument(
        "--tflops",
        type=float,
        help="TFLOP/s that a device reaches (default: 40%% of an H100's dense peak, assumed)",
    )
    parser.add_argument("--memory", type=float, help="GiB of a device (default: 80)")
    parser.add_argument(
        "--vocab-size",
        type=int,
        help="words (default: model.vocab_size, tokenizer.vocab_size or BERT's 30,522)",
    )
    parser.add_argument(
        "--fill",
        type=float,
        default=PlanOptions.fill,
        help="real tokens of an example, as a fraction of batch.max_length (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_intermixed_args(argv)
    config = cli.compose_for_script(CONFIG, args.overrides)
    options = PlanOptions(args.tokens, args.tflops, args.memory, args.vocab_size, args.fill)
    show_plan(config, options, args.json)


if __name__ == "__main__":
    main()
