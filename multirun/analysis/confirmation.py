"""Confirmation: a study's best trials on fresh seeds, and the winner by the confirmed mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.errors import UserError
from mdaf.multirun.analysis.statistics import spread
from mdaf.streams import stream_seed


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
                f"chose the winner cannot also prove it; {remedy}"
            )


def confirm(
    candidates: Sequence[Mapping[str, Any]], values: Mapping[str, Mapping[int, float]], near: str
) -> dict[str, Any]:
    """Names the winner by the confirmed mean, and says how much the search flattered each candidate.

    ``candidates``  each with ``name``, ``trial``, ``sweep_value`` (None for one that the search did not run) and
                    ``distance`` from the balanced point.
    ``values``      name -> seed -> value on the confirmation seeds.

    Noise is the standard error of a difference of two means, the spread within candidates pooled over all of them.
    Candidates within it of the highest mean are tied, and of these the one nearest to ``near`` wins: the
    one-standard-error rule (Breiman et al. 1984), with the balanced point for the simplest model.
    """
    rows = []
    for candidate in candidates:
        if not (found := values.get(candidate["name"])):
            continue
        rng = np.random.default_rng(stream_seed(0, "report", "confirmation", candidate["name"]))
        confirmed = spread(list(found.values()), rng)
        sweep_value = candidate["sweep_value"]
        rows.append(
            {
                **candidate,
                **confirmed.plain(),
                "seeds": list(found),
                "optimism": sweep_value - confirmed.mean if sweep_value is not None else None,
            }
        )
    if not rows:
        raise UserError("no candidate has a finished confirmation run, so there is no winner to name")
    noise = _noise(rows)
    highest = max(row["mean"] for row in rows)
    tied = [row for row in rows if highest - row["mean"] <= noise]
    winner = rows[choose([row["mean"] for row in rows], [row["distance"] for row in rows], noise)]
    return {
        "candidates": rows,
        "noise": noise,
        "tied": [row["name"] for row in tied],
        "near": near,
        "winner": winner["name"],
        "winner_trial": winner["trial"],
        "highest": next(row["name"] for row in rows if row["mean"] == highest),
        "optimism": winner["optimism"],
    }


def choose(means: Sequence[float], distances: Sequence[float], noise: float) -> int:
    """The place of the winner: of those within ``noise`` of the highest mean, the nearest; of equals the higher."""
    highest = max(means)
    tied = [place for place, mean in enumerate(means) if highest - mean <= noise]
    return min(tied, key=lambda place: (distances[place], -means[place]))


def _noise(rows: Sequence[Mapping[str, Any]]) -> float:
    """Standard error of the difference of two candidates' means; 0 where no candidate has two seeds."""
    spreads = [(row["n"] - 1, row["sd"] ** 2) for row in rows if row["sd"] is not None]
    degrees = sum(freedom for freedom, _ in spreads)
    if not degrees:
        return 0.0
    pooled = sum(freedom * variance for freedom, variance in spreads) / degrees
    return math.sqrt(2 * pooled / min(row["n"] for row in rows))


def distance(point: Mapping[str, Any], reference: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> float:
    """Euclidean distance of two points in the searched box, each side scaled to 1, logarithmic where searched so."""
    squares = [
        (_place(point[name], kind) - _place(reference[name], kind)) ** 2
        if not isinstance(kind, CategoricalDistribution)
        else float(point[name] != reference[name])
        for name, kind in space.items()
        if name in point and name in reference
    ]
    return math.sqrt(sum(squares))


def _place(value: float, kind: BaseDistribution) -> float:
    assert isinstance(kind, FloatDistribution | IntDistribution)
    low, high, at = float(kind.low), float(kind.high), float(value)
    if low == high:
        return 0.0
    if kind.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)
