"""A run has one end, and what needs to know it is refused where it is open."""

import pytest

from bert_lightning.config import (
    BatchConfig,
    CallbacksConfig,
    MaskingConfig,
    OptimConfig,
    PhaseConfig,
    ScheduleName,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.errors import UserError

BUDGET = OptimConfig(time_budget="8min")
TIME = TrainerConfig(max_steps=-1, max_time="00:00:08:00")
CONSTANT = OptimConfig(schedule=ScheduleName.constant)


@pytest.mark.parametrize(
    ("trainer", "optim", "steps"),
    [
        (TrainerConfig(), OptimConfig(), 2000),
        (TrainerConfig(max_time="00:00:08:00"), OptimConfig(), 2000),
        (TrainerConfig(max_steps=7, max_epochs=2), OptimConfig(), 7),
        (TrainerConfig(max_epochs=2), OptimConfig(), None),
        (TrainerConfig(max_steps=-1, max_epochs=2), OptimConfig(), None),
        (TrainerConfig(), BUDGET, None),
        (TrainerConfig(max_steps=-1), BUDGET, None),
        (TrainerConfig(max_time="00:00:08:00"), BUDGET, None),
        (TIME, CONSTANT, None),
    ],
)
def test_the_most_steps_of_a_run(
    trainer: TrainerConfig, optim: OptimConfig, steps: int | None
) -> None:
    assert TrainConfig(trainer=trainer, optim=optim).most_steps == steps


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"trainer": TrainerConfig(max_steps=2000), "optim": BUDGET},
            ["optim.time_budget=8min", "trainer.max_steps=2000", "trainer.max_steps=null"],
        ),
        (
            {"trainer": TrainerConfig(max_epochs=1.0), "optim": BUDGET},
            ["optim.time_budget=8min", "trainer.max_epochs=1.0", "omit one"],
        ),
        (
            {"trainer": TrainerConfig(val_check_interval=0.5), "optim": BUDGET},
            ["optim.time_budget=8min", "trainer.val_check_interval=0.5"],
        ),
        (
            {"optim": BUDGET, "batch": BatchConfig(masking=MaskingConfig(mlm_probability_end=0.1))},
            ["optim.time_budget=8min", "batch.masking.mlm_probability_end=0.1"],
        ),
        (
            {"trainer": TIME},
            ["optim.schedule=wsd", "max_time=00:00:08:00", "optim.time_budget=480s", "constant"],
        ),
        (
            {"trainer": TIME, "optim": CONSTANT, "batch": BatchConfig(phases=[PhaseConfig(1.0)])},
            ["trainer.max_time=00:00:08:00", "batch.phases"],
        ),
        (
            {"trainer": TrainerConfig(max_steps=-1)},
            ["trainer.max_steps=-1", "without an end", "trainer.max_epochs", "optim.time_budget"],
        ),
        (
            {"optim": OptimConfig(warmup_steps=2001)},
            ["optim.warmup_steps=2001", "trainer.max_steps=2000"],
        ),
        (
            {
                "trainer": TrainerConfig(limit_val_batches=0),
                "callbacks": CallbacksConfig(early_stopping_patience=3),
            },
            ["callbacks.early_stopping_patience=3", "trainer.limit_val_batches=0", "omit one"],
        ),
    ],
)
def test_options_that_exclude_each_other_are_both_named(
    options: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        TrainConfig(**options)  # type: ignore[arg-type]
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_time": "5"}, "max_time=5 is not a time: write it as DD:HH:MM:SS"),
        ({"max_time": "8min"}, "max_time=8min is not a time"),
        ({"max_time": "00:00:00:00"}, "is no time; null sets no limit"),
        ({"gradient_clip_algorithm": "value"}, "without trainer.gradient_clip_val"),
        ({"gradient_clip_val": -1.0}, "gradient_clip_val=-1 must be above 0; null clips nothing"),
        ({"devices": "two"}, "is not a number of devices"),
        ({"devices": [0, 0]}, "is not a number of devices"),
        ({"devices": True}, "is not a number of devices"),
        ({"devices": 1.5}, "is not a number of devices"),
    ],
)
def test_what_the_trainer_does_not_take(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainerConfig(**given)  # type: ignore[arg-type]


def test_a_time_of_lightnings_in_seconds() -> None:
    assert TrainerConfig(max_time="01:02:03:04").max_time_seconds == 93784
