"""How long a run is: which options end it, and which need to know its number of steps."""

from typing import TYPE_CHECKING

from bert_lightning.config.optim import ScheduleName
from bert_lightning.errors import UserError

if TYPE_CHECKING:
    from bert_lightning.config import TrainConfig


def check_end(config: "TrainConfig") -> None:
    """Makes sure that a run has one end, and that it is known where other options need it.

    Raises:
        UserError: it has none or two, or another option does not fit it.
    """
    trainer, most, budget = config.trainer, config.most_steps, config.optim.time_budget
    if budget is not None:
        _require_no_steps(config, f"optim.time_budget={budget}")
        for name, value in (("max_steps", most), ("max_epochs", trainer.max_epochs)):
            if value is not None:
                raise UserError(
                    f"optim.time_budget={budget} with trainer.{name}={value}: either would end the "
                    f"run; omit one of them, or set trainer.{name}=null"
                )
    elif most is not None or trainer.max_epochs is not None:
        _check_steps(config)
    elif trainer.max_time is None:
        raise UserError(
            "trainer.max_steps=-1 leaves the run without an end: set trainer.max_steps, "
            "trainer.max_epochs, trainer.max_time or optim.time_budget"
        )
    else:
        by_time = f"trainer.max_steps=-1 with trainer.max_time={trainer.max_time}"
        _require_no_steps(config, by_time)
        if config.optim.schedule is not ScheduleName.constant:
            raise UserError(
                f"optim.schedule={config.optim.schedule.value} decays the learning rate until the "
                f"last step, which {by_time} leaves open: use optim.time_budget="
                f"{trainer.max_time_seconds:.0f}s instead, whose decay follows the time, or "
                "optim.schedule=constant"
            )


def _check_steps(config: "TrainConfig") -> None:
    most, epochs, warmup = config.most_steps, config.trainer.max_epochs, config.optim.warmup_steps
    if most is not None and warmup > most:
        raise UserError(
            f"optim.warmup_steps={warmup} is longer than the run of trainer.max_steps={most}: "
            "warm up for fewer steps"
        )
    if epochs is not None and config.batch.phases is not None:
        raise _needs_steps("batch.phases", f"trainer.max_epochs={epochs:g}")


def _require_no_steps(config: "TrainConfig", end: str) -> None:
    """Makes sure that no option needs the number of steps, which such an end leaves open."""
    interval, last = config.trainer.val_check_interval, config.batch.masking.mlm_probability_end
    if config.batch.phases is not None:
        raise _needs_steps("batch.phases", end)
    if last is not None:
        raise _needs_steps(f"batch.masking.mlm_probability_end={last:g}", end)
    if isinstance(interval, float):
        raise _needs_steps(f"trainer.val_check_interval={interval:g}", end)


def _needs_steps(option: str, end: str) -> UserError:
    return UserError(
        f"{end} with {option}, which divides the run by its number of steps: that number is not "
        "known then; omit one of them, or end the run by trainer.max_steps"
    )
