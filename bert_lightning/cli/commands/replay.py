"""Repeats one step of a run and prints the loss of each of its examples."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bert_lightning.cli.parsers import parser_of
from bert_lightning.errors import exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("replay")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("step", type=int, help="the step, from 1, as in the log and the curves")
    parser.add_argument("--top", type=int, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print all of them as JSON lines")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from bert_lightning.training.replay import replay

    replayed = replay(args.run, args.step)
    examples = list(enumerate(replayed.examples))
    if args.json:
        for number, example in examples:
            print(json.dumps({"example": number, **asdict(example)}))
        return
    broken = sum(not math.isfinite(example.loss) for _, example in examples)
    print(
        f"step {args.step}, replayed from {replayed.checkpoint or 'the start'}: "
        f"{len(examples)} examples, {broken} of them with a non-finite loss; the highest:"
    )
    examples.sort(key=lambda item: (math.isfinite(item[1].loss), -item[1].loss))
    for number, example in examples[: args.top]:
        losses = ", ".join(f"{name.upper()} {loss:.3f}" for name, loss in example.losses.items())
        print(f"\nexample {number}: {losses} ({example.masked} masked)")
        print(f"  {example.text}")
