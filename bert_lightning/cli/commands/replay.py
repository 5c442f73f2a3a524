"""Repeats one step of a run and prints the loss of each of its examples."""

import json
import math
from argparse import Namespace
from dataclasses import asdict

from bert_lightning.cli.quick_imports import quick_imports

with quick_imports():
    from bert_lightning.training.replay import replay


def main(args: Namespace) -> None:
    replayed = replay(args.run, args.step)
    examples = list(enumerate(replayed.examples))
    if args.json:
        for number, example in examples:
            print(json.dumps({"example": number, "masked": example.masked, **asdict(example)}))
        return
    broken = sum(not math.isfinite(example.loss) for _, example in examples)
    print(
        f"step {args.step}, replayed from {replayed.checkpoint or 'the start'}: "
        f"{len(examples)} examples, {broken} of them with a non-finite loss; the highest, with the "
        "original in parentheses behind each token to predict:"
    )
    examples.sort(key=lambda item: (math.isfinite(item[1].loss), -item[1].loss))
    for number, example in examples[: args.top]:
        losses = ", ".join(f"{name.upper()} {loss:.3f}" for name, loss in example.losses.items())
        print(f"\nexample {number}: {losses} ({example.masked} masked)")
        print(f"  {example.shown}")
