"""The simulation of the winner's curse: what must hold of it whatever the noise."""

from __future__ import annotations

import pytest

from benchmarks.confirmation import BALANCED, simulate
from benchmarks.surrogates.bowls import KNOWN_POINTS
from mdaf import conf
from mdaf.multirun.phase4.known import known_values


def test_without_noise_nothing_is_claimed_too_much_and_nothing_is_worse_than_balanced() -> None:
    found = simulate(trials=12, sd=1e-9, repetitions=50, where="inside")
    for outcome in found.values():
        assert outcome.claim == pytest.approx(0, abs=1e-7)
        assert outcome.worse == 0
    assert found["face value"].regret == pytest.approx(found["confirmed mean"].regret)


def test_the_curse_grows_with_trials_and_confirmation_takes_most_of_it_away() -> None:
    few, many = (simulate(trials, sd=0.0025, repetitions=300, where="inside") for trials in (6, 60))
    assert many["face value"].claim > few["face value"].claim > 0.0025
    assert many["confirmed mean"].claim < many["face value"].claim / 2


def test_the_balanced_point_is_the_one_of_the_config() -> None:
    conf.register()
    assert KNOWN_POINTS[BALANCED] == known_values("balanced")
