"""A run on shards: in loader workers, resumed within a group, and ended by a shard that is gone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bert_lightning.cli.main import command
from bert_lightning.config import TrainConfig
from bert_lightning.errors import UserError
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]


@pytest.mark.slow
def test_a_run_on_shards_resumes_exactly_and_names_a_missing_shard(
    small_config: Config, small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    command("shards")([str(folder), *small_run()[:3], "tokenizer.min_frequency=1", "--tokens=200"])

    def config(name: str, steps: int) -> TrainConfig:
        made = small_config(tmp_path / name, "data=shards", f"data.path={folder}", "resume=auto")
        trainer = replace(made.trainer, max_steps=steps)
        batch = replace(made.batch, num_workers=2)
        data = replace(made.data, cache_dir=str(tmp_path / "cache"))
        return replace(made, trainer=trainer, batch=batch, data=data, allow_changes=True)

    whole = fit(config("whole", 6))
    first = fit(config("stopped", 3))
    last = fit(config("stopped", 6))
    assert (first.steps, last.steps) == (3, 6)
    for name, values in whole.curves.items():
        if name.startswith("train/") and name != "train/lr":
            assert last.curves[name][3:] == values[3:], name
    ours, theirs = last.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    for file in (tmp_path / "cache" / "shards").glob("*.bin"):
        file.unlink()
    for file in folder.glob("*/train-*/token_ids.bin"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="^the shard file .*token_ids.bin of .*resume= continues"):
        fit(config("stopped", 9))
