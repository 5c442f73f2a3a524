"""The options of a search: `hydra.sweeper` where `hparams_search=` names one."""

from dataclasses import dataclass, field
from typing import Any

from bert_lightning.errors import UserError, did_you_mean

GROUP, NAME = "hydra/sweeper", "search"
"""Where Hydra finds these options: `override /hydra/sweeper: search`."""
TARGET = "hydra_plugins.bert_lightning_search.Search"
SAMPLERS = ("tpe", "random")
HALVING = "successive_halving"
PRUNERS = (HALVING, "none")
_WORDS = {"sampler": SAMPLERS, "pruner": PRUNERS, "direction": ("minimize", "maximize")}
SECTION = "hydra.sweeper"


@dataclass
class SearchConfig:
    """A search; the names are those of hydra-optuna-sweeper, where it has the option."""

    _target_: str = TARGET
    params: dict[str, Any] = field(default_factory=dict)
    """What is searched: the name of an option, and `choice(…)`, `interval(…)` or `range(…)`."""
    n_trials: int = 20
    """Combinations of values that are tried, failed ones included."""
    jobs: int = 1
    """Trials at a time."""
    direction: str | None = None
    """`minimize` or `maximize`; null follows from the metric."""
    sampler: str = "tpe"
    """How values are proposed: `tpe` learns from earlier trials (tree-structured Parzen estimator;
    Bergstra et al., 2011), `random` does not."""
    seed: int = 0
    """Decides the proposals."""
    pruner: str = HALVING
    """Which trials are paused: `successive_halving` (ASHA; Li et al., 2018, arXiv:1810.05934), or
    `none`."""
    min_validations: int = 1
    """Validations of a trial before it may be paused: the first rung."""
    reduction_factor: int = 3
    """The best one of so many trials of a rung continues, to so many times as many validations."""

    @property
    def halves(self) -> bool:
        return self.pruner == HALVING


def check_settings(settings: SearchConfig) -> None:
    """Makes sure that the options of a search make sense.

    Raises:
        UserError: they do not.
    """
    for name, least in (("n_trials", 1), ("jobs", 1), ("min_validations", 1), ("seed", 0)):
        _require_at_least(settings, name, least)
    _require_at_least(settings, "reduction_factor", 2)
    for name, known in _WORDS.items():
        value = getattr(settings, name)
        if value not in known and (name, value) != ("direction", None):
            raise UserError(
                f"{SECTION}.{name}={value}: choose from {', '.join(known)}"
                f"{did_you_mean(value, known)}"
            )


def _require_at_least(settings: SearchConfig, name: str, least: int) -> None:
    value = getattr(settings, name)
    if value < least:
        raise UserError(f"{SECTION}.{name}={value} must be at least {least}")
