"""Proposes the values of the next trial, by one of Optuna's samplers."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from bert_lightning.cli.search.journal import SearchTrial, State
from bert_lightning.cli.search.settings import SearchConfig
from bert_lightning.cli.search.space import Space, Values, readable_value

_ATTEMPTS = 100
"""To propose what was not tried yet."""
_STATES = {
    State.running: TrialState.RUNNING,
    State.paused: TrialState.PRUNED,
    State.pruned: TrialState.PRUNED,
    State.failed: TrialState.FAIL,
    State.complete: TrialState.COMPLETE,
}


def propose(
    settings: SearchConfig, space: Space, lower: bool, trials: Sequence[SearchTrial]
) -> Values | None:
    """Returns values that no trial had yet; None where none are left.

    Each trial has a sampler of its own, seeded by the search and the trial's number: so a search
    that was killed continues with the proposals that it would have had. The sampler learns from
    paused trials too, which the journal keeps open.
    """
    if len(trials) >= space.size:
        return None
    tried = [trial.values for trial in trials]
    study = optuna.create_study(direction="minimize" if lower else "maximize")
    study.add_trials([_frozen(trial, space) for trial in trials])
    for attempt in range(_ATTEMPTS):
        seed = np.random.SeedSequence([settings.seed, len(trials), attempt]).generate_state(1)
        study.sampler = _sampler(settings.sampler, int(seed[0]))
        asked = study.ask(dict(space.distributions))
        values = {
            name: readable_value(asked.params[name], distribution)
            for name, distribution in space.distributions.items()
        }
        if values not in tried:
            return values
        study.tell(asked, state=TrialState.FAIL)
    return next((values for values in space.combinations() if values not in tried), None)


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():  # experimental until Optuna 5
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _frozen(trial: SearchTrial, space: Space) -> FrozenTrial:
    scores = dict(trial.validations)
    more: dict[str, Any] = {}
    if trial.state is State.complete:
        more["value"] = trial.score
    elif trial.state in (State.paused, State.pruned) and scores:
        more["value"] = [*scores.values()][-1]
    return create_trial(
        state=_STATES[trial.state],
        params=dict(trial.values),
        distributions=dict(space.distributions),
        intermediate_values=scores,
        **more,
    )
