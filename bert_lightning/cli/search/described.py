"""A search as its command line describes it, checked before anything begins."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from bert_lightning.cli.command_line import written
from bert_lightning.cli.many_runs.trials import Trials, options_of_hydra
from bert_lightning.cli.search.journal import Journal, SearchTrial
from bert_lightning.cli.search.processes import TrialProcess
from bert_lightning.cli.search.proposals import propose
from bert_lightning.cli.search.results import Results
from bert_lightning.cli.search.rungs import Halving
from bert_lightning.cli.search.settings import SECTION, SearchConfig, check_settings
from bert_lightning.cli.search.space import Space, Values, overrides, read_space
from bert_lightning.cli.typed import to_typed
from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.config.affects import COMMAND, EXECUTION, PLACE, options
from bert_lightning.errors import UserError
from bert_lightning.reports.comparison.metric import OPTION, lower_is_better
from bert_lightning.reports.comparison.options import plain_options
from bert_lightning.runs.launched import AUTO

_BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@dataclass(frozen=True)
class Search:
    """A search as its command line describes it."""

    settings: SearchConfig
    space: Space
    trial: RunConfig
    """The options of one of its trials."""
    metric: str
    lower: bool
    halving: Halving | None
    n_trials: int
    folder: Path
    command: Sequence[str]
    """Starts a trial, but for its values and its folder."""

    @property
    def identity(self) -> dict[str, Any]:
        """Returns whatever makes this search another than others, by the names of the options."""
        own = ("sampler", "seed", "pruner", "min_validations", "reduction_factor")
        free = COMMAND | EXECUTION | PLACE
        values = plain_options(self.trial)
        matter = [one.name for one in options(type(self.trial)) if one.affects & ~free]
        found = {
            **{f"{SECTION}.{name}": getattr(self.settings, name) for name in own},
            OPTION: self.metric,
            **{name: values[name] for name in matter if name not in self.space.grammar},
            **self.space.grammar,
        }
        return dict(json.loads(json.dumps(found)))

    def propose(self, trials: Sequence[SearchTrial]) -> Values | None:
        return propose(self.settings, self.space, self.lower, trials)

    def start(self, trial: SearchTrial, environment: Mapping[str, str]) -> TrialProcess:
        folder = written(str(self.folder / trial.folder))
        own = [*overrides(trial.values), f"resume={AUTO}", f"hydra.run.dir={folder}"]
        return TrialProcess([*self.command, *own, "hydra.mode=RUN"], environment)

    def results(self, journal: Journal) -> Results:
        told = self.metric, self.lower, self.halving, self.space
        return Results(self.folder, *told, journal.trials())


def read_search(
    config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], trials: Trials
) -> Search:
    """Reads and checks a command line; some trials are composed, which checks their options."""
    values: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    settings = SearchConfig(**values)
    check_settings(settings)
    if config.hydra.launcher.get("_target_") != _BASIC_LAUNCHER:
        raise UserError(
            "a search starts its trials itself: omit hydra/launcher; "
            f"{SECTION}.jobs=2 runs two trials at a time"
        )
    space = read_space(settings.params, arguments, loader)
    typed = [
        _typed(loader.load_sweep_config(config, [*space.fixed, *overrides(corner)]))
        for corner in space.corners()
    ]
    default = "val/loss" if isinstance(typed[0], TrainConfig) else "val/error"
    metric = typed[0].optimized_metric or default
    lower = _minimizes(settings, metric)
    fixed = [one for one in space.fixed if not one.startswith("resume=")]
    return Search(
        settings,
        space,
        typed[0],
        metric,
        lower,
        _halving(settings, typed, metric, lower),
        int(min(settings.n_trials, space.size)),
        Path(config.hydra.sweep.dir).absolute(),
        [*trials.command, *fixed, *options_of_hydra(config.hydra.overrides.hydra)],
    )


def _typed(config: DictConfig) -> RunConfig:
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        del own["hydra"]
    typed: RunConfig = to_typed(own)
    return typed


def _minimizes(settings: SearchConfig, metric: str) -> bool:
    """Returns whether a lower metric is better; a UserError if the direction says otherwise."""
    lower = lower_is_better(metric)
    right = "minimize" if lower else "maximize"
    if settings.direction not in (None, right):
        raise UserError(
            f"{SECTION}.direction={settings.direction}: {metric} is better when it is "
            f"{'lower' if lower else 'higher'}: omit the direction, or give {right}"
        )
    return lower


def _halving(
    settings: SearchConfig, typed: Sequence[RunConfig], metric: str, lower: bool
) -> Halving | None:
    if not settings.halves:
        return None
    prunes, way_out = f"{SECTION}.pruner={settings.pruner}", f"{SECTION}.pruner=none"
    if not metric.startswith("val/"):
        raise UserError(
            f"{prunes} follows the validations, and {OPTION}={metric} is no score of them: name "
            f"one such as val/loss, or use {way_out}"
        )
    if any(one.never_validates for one in typed):
        raise UserError(
            f"{prunes} follows the validations, and trainer.limit_val_batches=0 makes none: omit "
            f"it, or use {way_out}"
        )
    last = max(map(_last_validation, typed))
    first = settings.min_validations
    if first >= last:
        raise UserError(
            f"{prunes} pauses trials after validation {first} at the earliest, and a trial has "
            f"{last:.0f}: lower trainer.val_check_interval, or use {way_out}"
        )
    return Halving(first, settings.reduction_factor, lower, last)


def _last_validation(config: RunConfig) -> float:
    """Returns how many validations a run has; infinite where that is not known before."""
    interval, steps = config.trainer.val_check_interval, config.most_steps
    if isinstance(interval, float) and interval <= 1:
        return math.ceil(1 / interval - 1e-9)
    if steps is None or config.trainer.max_epochs is not None:
        return math.inf
    return math.ceil(steps / interval)
