"""What a search varies: Hydra's `choice(…)`, `interval(…)` and `range(…)` as distributions."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from bert_lightning.cli.explain import declared
from bert_lightning.config.limits import kinds
from bert_lightning.errors import UserError

_FIGURES = 4
"""Significant figures of a number that is drawn, so that people can read and type it."""
Value = str | int | float
"""A text is a choice, in the grammar of overrides."""
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Space:
    """The parameters of a search, and the overrides that all its trials have in common."""

    distributions: Mapping[str, BaseDistribution]
    grammar: Mapping[str, str]
    """The parameters as they were written."""
    fixed: Sequence[str]
    outdone: Sequence[str]
    """Parameters of the search for which the command line gives a single value."""

    @property
    def size(self) -> float:
        """The number of combinations; infinite where a parameter is continuous."""
        return math.prod(map(_count, self.distributions.values()))

    def combinations(self) -> Iterator[Values]:
        """Yields all combinations; none where a parameter is continuous."""
        if math.isinf(self.size):
            return
        for values in product(*map(_all, self.distributions.values())):
            yield dict(zip(self.distributions, values, strict=True))

    def corners(self) -> list[Values]:
        """Returns combinations in which each choice and each end of an interval occurs."""
        values = {name: _ends(one) for name, one in self.distributions.items()}
        return [
            {name: ends[place % len(ends)] for name, ends in values.items()}
            for place in range(max(map(len, values.values())))
        ]


def read_space(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader) -> Space:
    """Reads the parameters of a search and the overrides of its command line, which come last.

    Raises:
        UserError: a parameter is no range of values, or there is none.
    """
    parser = OverridesParser.create(config_loader=loader)
    of_search = parser.parse_overrides([f"{name}={value}" for name, value in params.items()])
    given = {one.get_key_element(): one for one in parser.parse_overrides([*arguments])}
    all_of_them = {one.get_key_element(): one for one in of_search} | given
    varied = {name: one for name, one in all_of_them.items() if one.is_sweep_override()}
    if not varied:
        raise UserError(
            "a search needs a parameter: optim.lr='tag(log,interval(1e-4,1e-2))', or more of them "
            "in hydra.sweeper.params"
        )
    return Space(
        {name: _distribution(name, one) for name, one in varied.items()},
        {name: one.get_value_string() for name, one in varied.items()},
        [str(one.input_line) for name, one in all_of_them.items() if name not in varied],
        [str(one.input_line) for name, one in given.items() if name in params.keys() - varied],
    )


def overrides(values: Values) -> list[str]:
    """Returns the values of a trial as overrides."""
    return [f"{name}={value}" for name, value in values.items()]


def readable_value(value: Any, distribution: BaseDistribution) -> Value:
    """Returns a value that was drawn, a number with few figures and within its limits."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        found: Value = value
        return found
    short = float(f"{value:.{_FIGURES}g}")
    return min(max(short, distribution.low), distribution.high)


def _distribution(name: str, override: Override) -> BaseDistribution:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(name, override, value)
    if override.is_choice_sweep():
        choices = [*dict.fromkeys(map(str, override.sweep_iterator(Transformer.str)))]
        return CategoricalDistribution(choices)
    numbers: list[Any] = [*override.sweep_iterator()]
    numbers.sort()
    if not numbers:
        raise UserError(f"{override.input_line} is empty")
    if len(numbers) == 1:
        return CategoricalDistribution([str(numbers[0])])
    step = numbers[1] - numbers[0]
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(numbers[0], numbers[-1], step=step)
    return CategoricalDistribution([f"{number:.12g}" for number in numbers])


def _interval(name: str, override: Override, interval: IntervalSweep) -> BaseDistribution:
    low, high, log = interval.start, interval.end, "log" in interval.tags
    assert low is not None
    assert high is not None
    if unknown := interval.tags - {"log"}:
        raise UserError(f"{override.input_line}: the one tag is log, and not {min(unknown)}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{override.input_line}: {low:g} must be below {high:g}")
    if log and low <= 0:
        raise UserError(
            f"{override.input_line}: a logarithmic interval must begin above 0, such as at "
            f"{high / 1000:g}"
        )
    if isinstance(low, int) or kinds(declared(name))[0] is int:
        if low != round(low) or high != round(high):
            raise UserError(f"{override.input_line}: {name} is an integer, and so are its limits")
        return IntDistribution(round(low), round(high), log=log)
    return FloatDistribution(low, high, log=log)


def _count(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    return math.inf


def _all(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution)
    return range(distribution.low, distribution.high + 1, distribution.step)


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high
