"""train.py, whose processes also write down what reaches their model, and do what a test asks for.

Each process adds a line to `trace-RANK.jsonl` in the run's folder for each micro-batch. `ACT` in
the environment, such as `{"do": "raise", "rank": 1, "step": 3}`, has that rank raise an error
(`raise`), send itself SIGTERM (`stop`) or take very long (`sleep`) in the first micro-batch of that
step; without a rank every one does, and with a seed only a run with that seed.
"""

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from bert_lightning.batch import PretrainBatch
from bert_lightning.cli import app as cli
from bert_lightning.cli.commands.train import train
from bert_lightning.cli.quick_imports import quick_imports

with quick_imports():
    from bert_lightning.training.module import PretrainingModule

ACT = json.loads(os.environ.get("ACT", '{"step": 0}'))
CONF = Path(__file__).parents[1] / "conf"
learn, validate = PretrainingModule.training_step, PretrainingModule.validation_step


def digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()[:16]


def write(module: PretrainingModule, kind: str, step: int, **seen: Any) -> None:
    entry = {"kind": kind, "step": step, "rank": module.global_rank, "time": time.time(), **seen}
    path = Path(module.config.run_dir) / f"trace-{module.global_rank}.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def act(module: PretrainingModule) -> None:
    if ACT.get("seed", module.config.seed) != module.config.seed:
        return
    if ACT.get("rank", module.global_rank) != module.global_rank:
        return
    match ACT["do"]:
        case "raise":
            raise ArithmeticError("as the test asked")
        case "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        case "sleep":
            time.sleep(100)


def training_step(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> Tensor:
    step = module.global_step + 1
    micro_batch = batch_idx % module.trainer.accumulate_grad_batches
    examples = (batch.part(i, i + 1) for i in range(len(batch.nsp_labels)))
    write(
        module, "train", step,
        micro_batch=micro_batch,
        world_size=module.trainer.world_size,
        lr=module.config.optim.lr,
        seed=module.config.seed,
        weights=digest(*module.model.parameters()),
        examples=[
            digest(
                *example.sequences[:4], example.masked_positions, example.masked_labels,
                *example.labels.values(),
            )
            for example in examples
        ],
    )  # fmt: skip
    if step == ACT["step"] and micro_batch == 0:
        act(module)
    return learn(module, batch, batch_idx)


def validation_step(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> None:
    write(module, "validation", module.global_step, batch=batch_idx)
    validate(module, batch, batch_idx)


if __name__ == "__main__":
    PretrainingModule.training_step = training_step  # type: ignore[method-assign]
    PretrainingModule.validation_step = validation_step  # type: ignore[method-assign]
    cli.run(CONF, train)
