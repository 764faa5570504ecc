"""Samplers draw by the seed and the trial's number, so that a sweep that goes on does not repeat itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from mdaf.sweeper.search.reseeding import reseed

KINDS: dict[str, Callable[[], BaseSampler]] = {
    "random": RandomSampler,
    "tpe": lambda: TPESampler(n_startup_trials=3),
    "gp": lambda: GPSampler(n_startup_trials=6),
    "cmaes": CmaEsSampler,
    "qmc": lambda: QMCSampler(scramble=True, seed=7, warn_independent_sampling=False),
    "nsgaii": lambda: NSGAIISampler(population_size=20),
}


def sampled(kind: str, parts: list[int], seed: int = 7) -> list[dict[str, Any]]:
    """The points of a sweep that is interrupted after each part: a fresh sampler, the same study."""
    storage = optuna.storages.InMemoryStorage()
    for part in parts:
        sampler = KINDS[kind]()
        study = optuna.create_study(storage=storage, study_name="s", sampler=sampler, load_if_exists=True)
        for _ in range(part):
            reseed(sampler, seed, len(study.trials))
            trial = study.ask()
            x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 1e-5, 1e-4, log=True)
            study.tell(trial, (x - 0.3) ** 2 + y)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_comes_twice_in_a_sweep_that_goes_on(kind: str) -> None:
    points = [tuple(point.values()) for point in sampled(kind, [4, 4, 2])]
    assert len(set(points)) == 10


@pytest.mark.parametrize("kind", ["random", "tpe", "gp", "qmc"])
def test_an_interrupted_sweep_proposes_what_it_would_have_proposed(kind: str) -> None:
    assert sampled(kind, [3, 4]) == sampled(kind, [7])


def test_another_seed_draws_other_points() -> None:
    assert sampled("random", [4], seed=1) != sampled("random", [4], seed=2)


def test_a_sampler_without_a_seed_stays_random() -> None:
    sampler = RandomSampler()
    study = optuna.create_study(sampler=sampler)
    points = set()
    for _ in range(2):
        reseed(sampler, None, 0)
        points.add(study.ask().suggest_float("x", 0, 1))
    assert len(points) == 2
