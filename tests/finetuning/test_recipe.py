"""What the length, the learning rate and the warmup of a run are, where options leave them open."""

from typing import Any

import pytest

from bert_lightning.config.finetune import (
    FinetuneConfig,
    FinetuneOptimConfig,
    FinetuneTrainerConfig,
)
from bert_lightning.errors import UserError
from bert_lightning.finetuning.recipe import with_recipe


def config(warmup: int | None = None, **trainer: Any) -> FinetuneConfig:
    return FinetuneConfig(
        trainer=FinetuneTrainerConfig(**trainer), optim=FinetuneOptimConfig(warmup_steps=warmup)
    )


@pytest.mark.parametrize(
    ("width", "epochs", "lr"), [(128, 12, 1e-3), (384, 7, 2e-4), (768, 5, 5e-5), (1024, 4, 3e-5)]
)
def test_narrower_models_train_longer_and_faster(width: int, epochs: int, lr: float) -> None:
    filled, steps = with_recipe(config(), width, examples=320)
    assert (filled.trainer.max_epochs, filled.optim.lr, steps) == (epochs, lr, 10 * epochs)
    assert filled.optim.warmup_steps == epochs
    assert with_recipe(filled, width, examples=320) == (filled, steps)


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_steps": -1}, 120),
        ({"max_epochs": 2}, 20),
        ({"max_epochs": 2, "max_steps": 7}, 7),
        ({"max_epochs": 2, "max_steps": 700}, 20),
        ({"max_epochs": 0.01}, 1),
    ],
)
def test_what_is_given_holds(trainer: dict[str, Any], steps: int) -> None:
    assert with_recipe(config(0, **trainer), 128, examples=320)[1] == steps


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(UserError, match="warmup_steps=8 is longer than the run of 7 steps"):
        with_recipe(config(8, max_steps=7), 128, examples=320)
