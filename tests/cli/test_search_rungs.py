"""Successive halving: which trials of a search continue, which wait, and which is completed."""

import math

from bert_lightning.cli.search.rungs import Contender, Halving

HALVING = Halving(first=1, factor=3, lower=True, last=12)


def paused(number: int, *values: float, rung: int = 0) -> Contender:
    return Contender(number, values, rung, is_paused=True)


def test_the_worked_example() -> None:
    trials = [paused(0, 6.1)]
    assert HALVING.promoted(trials) is None
    trials.append(paused(1, 5.9))
    assert HALVING.promoted(trials) is None
    trials.append(paused(2, 6.0))
    assert HALVING.promoted(trials) == 1
    trials[1] = Contender(1, (5.9, 5.8, 5.7), 1, is_paused=False)
    assert HALVING.is_reached(trials[1])
    assert not HALVING.passes(trials[1], trials)
    assert HALVING.promoted(trials) is None


def test_rungs_end_before_the_end_of_a_trial() -> None:
    assert HALVING.rungs() == [1, 3, 9]
    assert Halving(2, 2, True, last=8).rungs() == [2, 4]
    assert not Halving(2, 2, True, last=2).is_reached(paused(0, 5.0, 5.0))


def test_where_higher_is_better_the_highest_is_promoted_and_nan_is_the_worst() -> None:
    higher = Halving(1, 2, lower=False)
    trials = [paused(0, 0.4), paused(1, math.nan), paused(2, 0.6), paused(3, 0.5)]
    assert higher.promoted(trials) == 2
    without_nan = Halving(1, 2, lower=True)
    assert without_nan.promoted([paused(0, math.nan), paused(1, 9.0)]) == 1


def test_a_higher_rung_comes_first() -> None:
    low = [paused(number, 5.0 + number) for number in range(3)]
    high = [paused(number, 4.0, 4.0, 3.0 + number, rung=1) for number in range(3, 6)]
    assert HALVING.promoted(low + high) == 3


def test_the_best_of_the_highest_rung_is_completed_though_its_rung_lets_none_pass() -> None:
    trials = [paused(0, 5.5), paused(1, 5.0, 4.9, 4.8, rung=1), paused(2, 5.0, 4.9, 4.7, rung=1)]
    assert HALVING.promoted(trials) is None
    assert HALVING.furthest(trials) == 2
    assert HALVING.furthest([]) is None
