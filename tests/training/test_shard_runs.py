"""A run on shards: in loader workers, resumed within a group, and ended by a shard that is gone."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch import Callback

from bert_lightning.cli.main import command
from bert_lightning.config import TrainConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]


class StopInStep3(Callback):
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_run_on_shards_resumes_exactly_and_names_a_missing_shard(
    small_config: Config, small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    command("shards")([str(folder), *small_run()[:3], "tokenizer.min_frequency=1", "--tokens=200"])

    def config(name: str, steps: int = 6) -> TrainConfig:
        made = small_config(tmp_path / name, "data=shards", f"data.path={folder}", "resume=auto")
        trainer = replace(made.trainer, max_steps=steps)
        batch = replace(made.batch, num_workers=2)
        data = replace(made.data, cache_dir=str(tmp_path / "cache"))
        return replace(made, trainer=trainer, batch=batch, data=data, allow_changes=True)

    whole = fit(config("whole"))
    with pytest.raises(RunEnded, match="stopped at step 3 by SIGTERM"):
        fit(config("stopped"), callbacks=[StopInStep3()])
    last = fit(config("stopped"))
    for name, values in whole.curves.items():
        if name.startswith("train/"):
            assert last.curves[name] == values, name
    ours, theirs = last.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    for file in (tmp_path / "cache" / "shards").glob("*.bin"):
        file.unlink()
    for file in folder.glob("*/train-*/token_ids.bin"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"^the shard file .*token_ids.bin of .*resume= continues"):
        fit(config("stopped", 9))
