"""Confirmation: a study's best trials on fresh seeds, and the winner by the confirmed mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.errors import UserError
from mdaf.multirun.analysis.statistics import Interval, spread
from mdaf.streams import stream_seed


class Candidate(Protocol):
    """A configuration that may win; ``sweep_value`` is None if the search did not run it."""

    @property
    def name(self) -> str: ...

    @property
    def trial(self) -> int | None: ...

    @property
    def sweep_value(self) -> float | None: ...

    @property
    def distance(self) -> float:
        """From the balanced point."""


@dataclass(frozen=True, kw_only=True)
class ConfirmedCandidate:
    """A candidate with its spread over the confirmation seeds.

    ``optimism``        its value in the sweep less its confirmed mean; None where it has no value in the sweep.
    ``optimism_error``  standard error of that mean, by the spread that is pooled over the candidates.
    """

    name: str
    trial: int | None
    sweep_value: float | None
    distance: float
    n: int
    mean: float
    sd: float | None
    t_interval: Interval | None
    bootstrap_interval: Interval | None
    seeds: list[int]
    optimism: float | None
    optimism_error: float | None = None


@dataclass(frozen=True)
class Confirmation:
    """The confirmed candidates and the winner among them.

    ``noise``     standard error of the difference of two candidates' means.
    ``tied``      candidates within the noise of the highest mean; of these the one nearest to ``near`` wins.
    ``highest``   the candidate with the highest mean.
    ``optimism``  the winner's.
    """

    candidates: Sequence[ConfirmedCandidate]
    noise: float
    tied: list[str]
    near: str
    winner: str
    winner_trial: int | None
    highest: str
    optimism: float | None


def check_disjoint(search: Sequence[int], confirmation: Sequence[int], phase4: Sequence[int]) -> None:
    """UserError names a seed that two of the three would share, and what to set instead."""
    for (first, a), (second, b), remedy in (
        (
            ("the search", search),
            ("Phase 4 (seeds)", phase4),
            "choose others with seeds=[...], or sweep on another with seed=...",
        ),
        (
            ("the search", search),
            ("confirmation (confirm.seeds)", confirmation),
            "choose others with confirm.seeds=[...]",
        ),
        (
            ("confirmation (confirm.seeds)", confirmation),
            ("Phase 4 (seeds)", phase4),
            "choose others with confirm.seeds=[...]",
        ),
    ):
        if shared := sorted(set(a) & set(b)):
            raise UserError(
                f"seed {shared[0]}: found in both {first} and {second}, expected disjoint seeds, since a figure that "
                f"chose the winner is no evidence for it; {remedy}"
            )


def confirm(candidates: Sequence[Candidate], values: Mapping[str, Mapping[int, float]], near: str) -> Confirmation:
    """Names the winner by the confirmed mean, and says how much the search flattered each candidate.

    ``values``  name -> seed -> value on the confirmation seeds.

    Noise is the standard error of a difference of two means, the spread within candidates pooled over all of them.
    Candidates within it of the highest mean are tied, and of these the one nearest to ``near`` wins: the
    one-standard-error rule (Breiman et al. 1984), with the balanced point for the simplest model.
    """
    rows = [_confirmed(candidate, values[candidate.name]) for candidate in candidates if values.get(candidate.name)]
    if not rows:
        raise UserError("no candidate has a finished confirmation run, so there is no winner to name")
    pooled = pooled_sd([(row.n, row.sd) for row in rows])
    rows = [
        replace(row, optimism_error=pooled / math.sqrt(row.n)) if pooled and row.optimism is not None else row
        for row in rows
    ]
    noise = (pooled or 0.0) * math.sqrt(2 / min(row.n for row in rows))
    highest = max(row.mean for row in rows)
    winner = rows[choose([row.mean for row in rows], [row.distance for row in rows], noise)]
    return Confirmation(
        candidates=rows,
        noise=noise,
        tied=[row.name for row in rows if highest - row.mean <= noise],
        near=near,
        winner=winner.name,
        winner_trial=winner.trial,
        highest=next(row.name for row in rows if row.mean == highest),
        optimism=winner.optimism,
    )


def _confirmed(candidate: Candidate, by_seed: Mapping[int, float]) -> ConfirmedCandidate:
    rng = np.random.default_rng(stream_seed(0, "report", "confirmation", candidate.name))
    found = spread(list(by_seed.values()), rng)
    value = candidate.sweep_value
    return ConfirmedCandidate(
        name=candidate.name,
        trial=candidate.trial,
        sweep_value=value,
        distance=candidate.distance,
        **vars(found),
        seeds=list(by_seed),
        optimism=None if value is None else value - found.mean,
    )


def choose(means: Sequence[float], distances: Sequence[float], noise: float) -> int:
    """The index of the winner: of those within ``noise`` of the highest mean, the nearest; of equals the higher."""
    highest = max(means)
    tied = [index for index, mean in enumerate(means) if highest - mean <= noise]
    return min(tied, key=lambda index: (distances[index], -means[index]))


def pooled_sd(spreads: Sequence[tuple[int, float | None]]) -> float | None:
    """Standard deviation within configurations, pooled over them: (number of seeds, standard deviation) of each.

    None where none of them has two seeds.
    """
    known = [(n - 1, sd**2) for n, sd in spreads if sd is not None]
    degrees = sum(freedom for freedom, _ in known)
    return math.sqrt(sum(freedom * variance for freedom, variance in known) / degrees) if degrees else None


def distance(point: Mapping[str, Any], reference: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> float:
    """Euclidean distance of two points in the searched box, each side scaled to 1, logarithmic where searched so."""
    squares = [
        (_scaled(point[name], kind) - _scaled(reference[name], kind)) ** 2
        if not isinstance(kind, CategoricalDistribution)
        else float(point[name] != reference[name])
        for name, kind in space.items()
        if name in point and name in reference
    ]
    return math.sqrt(sum(squares))


def _scaled(value: float, kind: BaseDistribution) -> float:
    assert isinstance(kind, FloatDistribution | IntDistribution)
    low, high, at = float(kind.low), float(kind.high), float(value)
    if low == high:
        return 0.0
    if kind.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)
