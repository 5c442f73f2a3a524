"""train.py, slowed, which writes down each step that it has done.

`SLOWED` in the environment holds the seconds by which each `step` and each `write` to a
checkpoint's stream is slowed, and the file that is the `journal`.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bert_lightning.cli import app as cli
from bert_lightning.cli.commands.train import train
from bert_lightning.cli.quick_imports import quick_imports

with quick_imports():
    from bert_lightning.runs import checkpoint_io
    from bert_lightning.training.module import PretrainingModule

SLOWED = json.loads(os.environ["SLOWED"])


def slow(cls: type, name: str, then: Callable[[Any], Any], seconds: float) -> None:
    original = getattr(cls, name)

    def slower(self: Any, *arguments: Any) -> Any:
        time.sleep(seconds)
        result = original(self, *arguments)
        then(self)
        return result

    setattr(cls, name, slower)


if __name__ == "__main__":
    journal = os.open(SLOWED["journal"], os.O_WRONLY | os.O_APPEND)
    slow(checkpoint_io._Hashing, "write", lambda _: None, SLOWED["write"])
    slow(
        PretrainingModule,
        "on_train_batch_end",
        lambda module: os.write(journal, b"%d " % module.global_step),
        SLOWED["step"],
    )
    cli.run(Path(__file__).parents[1] / "conf", train)
