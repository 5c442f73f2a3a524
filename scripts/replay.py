"""Makes one step of a run again and prints what the model makes of each of its examples.

python scripts/replay.py RUN 437
"""

import argparse
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bert_lightning.errors import exit_on_user_error
from bert_lightning.training.replay import replay


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print the losses of one step's examples.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("step", type=int, help="the step, from 1, as the log and the curves say")
    parser.add_argument("--top", type=int, default=5, help="how many (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="all of them, for machines")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    replayed = replay(args.run, args.step)
    examples = list(enumerate(replayed.examples))
    if args.json:
        for number, example in examples:
            print(json.dumps({"example": number, **asdict(example)}))
        return
    broken = sum(not math.isfinite(example.loss) for _, example in examples)
    print(
        f"step {args.step}, replayed from {replayed.checkpoint or 'the start'}: "
        f"{len(examples)} examples, "
        f"{broken} of them with a loss that is not finite; the highest:"
    )
    examples.sort(key=lambda item: (math.isfinite(item[1].loss), -item[1].loss))
    for number, example in examples[: args.top]:
        losses = ", ".join(f"{name.upper()} {loss:.3f}" for name, loss in example.losses.items())
        print(f"\nexample {number}: {losses} ({example.masked} masked)")
        print(f"  {example.text}")


if __name__ == "__main__":
    main()
