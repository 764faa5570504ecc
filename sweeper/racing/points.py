"""A study's points: the runs of each, their mean and its error, and what the Gaussian process makes of them all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.racing.cube import Cube
from mdaf.sweeper.racing.process import Runs, fit, posterior
from mdaf.sweeper.storage.late_reads import attribute, holds
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.points.same_point import point_id_of, seed_of
from mdaf.sweeper.trials.points.space import Space
from mdaf.sweeper.trials.retries import BY_ITS_POINT, point_of
from mdaf.sweeper.trials.user_attrs import FAILED_BY, POINT, SAME_RUN_AS, WITHDRAWN

LARGE = 1e100  # a greater value has no square
PENDING = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class Point:
    """A point of a study with at least one finished run.

    ``id``              the same for all runs of the point (``mdaf.sweeper.trials.points.same_point``).
    ``name``            of a known point; else None.
    ``trials``          the numbers of its finished runs, rising, with their ``seeds`` and ``values``. A seed is None
                        where nobody recorded it.
    ``diverged``        how many of its runs diverged. Each counts for the posterior as the study's worst value, and
                        not for ``mean``.
    ``feasible``        whether every run met the study's constraints.
    ``mean``            of the values, with its ``standard_error``, which is None for a single run.
    ``posterior_mean``  what is expected of a further run, given all runs of the study; ``posterior_sd`` is the
                        standard deviation of that expectation. The best of many means lies above it.
    """

    id: str
    name: str | None
    params: Mapping[str, Any]
    trials: tuple[int, ...]
    seeds: tuple[int | None, ...]
    values: tuple[float, ...]
    diverged: int
    feasible: bool
    mean: float
    standard_error: float | None
    posterior_mean: float
    posterior_sd: float


@dataclass
class Group:
    """The trials of one point, by what became of them. ``others`` were pruned, or failed for another reason."""

    id: str
    params: dict[str, Any]
    finished: list[FrozenTrial]
    diverged: list[FrozenTrial]
    pending: list[FrozenTrial]
    others: list[FrozenTrial]

    @property
    def every(self) -> list[FrozenTrial]:
        """All its trials."""
        return [*self.finished, *self.diverged, *self.pending, *self.others]

    @property
    def name(self) -> str | None:
        """The name of a known point."""
        return next((name for trial in self.every if (name := attribute(trial, POINT)) is not None), None)

    @property
    def seeds(self) -> set[int]:
        """The seeds that its trials had, whatever became of them."""
        return {seed for trial in self.every if (seed := seed_of(trial)) is not None}

    @property
    def feasible(self) -> bool:
        """Whether no finished run breaks a constraint."""
        return all(map(is_feasible, self.finished))


def points(trials: Sequence[FrozenTrial], *, maximize: bool) -> list[Point]:
    """The points of a study of one objective, the best by their posterior mean first; infeasible ones come last.

    Where points have different parameters, each point's posterior knows nothing of the others but their spread.
    """
    groups = [group for group in grouped(trials) if group.finished]
    if not groups:
        return []
    space = common_space(trials)
    runs = runs_of(groups, None if space is None else Cube(space), maximize=maximize, pending=False)
    means, covariance = posterior(runs, fit(runs))
    sign = 1 if maximize else -1
    spreads = np.sqrt(np.maximum(covariance.diagonal(), 0))
    found = [
        _point(group, sign * runs.unit * float(mean), runs.unit * float(spread))
        for group, mean, spread in zip(groups, means, spreads, strict=True)
    ]
    return sorted(found, key=lambda point: (not point.feasible, -sign * point.posterior_mean, point.trials))


def grouped(trials: Sequence[FrozenTrial], cube: Cube | None = None) -> list[Group]:
    """The trials of each point, in the order of their first trials. With a cube: the points that it can hold.

    A trial that took the value of an earlier one says nothing new, so it is none of them.
    """
    found: dict[str, Group] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        point = point_of(trial)
        if holds(trial, WITHDRAWN) or holds(trial, SAME_RUN_AS) or not point:
            continue
        key = point_id_of(trial)
        if key not in found:
            if cube is not None and not cube.holds(point):
                continue
            found[key] = Group(key, point, [], [], [], [])
        _part(found[key], trial).append(trial)
    return list(found.values())


def common_space(trials: Sequence[FrozenTrial]) -> Space | None:
    """The latest distribution of each parameter; None unless all complete trials have the same, comparable ones."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    space = max(complete, key=lambda trial: trial.number).distributions if complete else {}
    cube = Cube(space)
    return space if space and all(cube.holds(trial.params) for trial in complete) else None


def runs_of(groups: Sequence[Group], cube: Cube | None, *, maximize: bool, pending: bool) -> Runs:
    """The runs of points as the Gaussian process takes them, greater values being better."""
    sign = 1 if maximize else -1
    rows = [(at, trial, sign * trial.values[0]) for at, group in enumerate(groups) for trial in group.finished]
    if rows:
        worst = min(value for _, _, value in rows)
        rows += [(at, trial, worst) for at, group in enumerate(groups) for trial in group.diverged]
    waiting = [(at, trial) for at, group in enumerate(groups) for trial in group.pending] if pending else []
    every = [(at, trial) for at, trial, _ in rows] + waiting
    unit = unit_of(value for _, _, value in rows)
    seeds: dict[object, int] = {}
    for _, trial in every:
        seed = seed_of(trial)
        seeds.setdefault(("trial", trial.number) if seed is None else seed, len(seeds))
    return Runs(
        coordinates=None if cube is None else cube.coordinates([group.params for group in groups]),
        point=np.array([at for at, _ in every], dtype=int),
        seed=np.array(
            [seeds[("trial", t.number) if (seed := seed_of(t)) is None else seed] for _, t in every], dtype=int
        ),
        values=np.array([value for _, _, value in rows], dtype=float) / unit,
        unit=unit,
        searched=0 if cube is None else cube.searched,
    )


def _part(group: Group, trial: FrozenTrial) -> list[FrozenTrial]:
    if trial.state is TrialState.COMPLETE:
        return group.finished if trial.values and math.isfinite(trial.values[0]) else group.diverged
    if trial.state in PENDING:
        return group.pending
    return group.diverged if attribute(trial, FAILED_BY) == BY_ITS_POINT else group.others


def unit_of(values: Iterable[float]) -> float:
    """The unit in which values are computed with: 1 unless one is so great that its square is no float."""
    largest = max(map(abs, values), default=0.0)
    return largest if largest > LARGE else 1.0


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the standard deviation, which a single value has none of."""
    scale = unit_of(values)
    scaled = [value / scale for value in values]
    mean = math.fsum(scaled) / len(scaled)
    squares = math.fsum((value - mean) ** 2 for value in scaled)
    deviation = math.sqrt(squares / (len(values) - 1)) * scale if len(values) > 1 else None
    return mean * scale, deviation


def _point(group: Group, posterior_mean: float, posterior_sd: float) -> Point:
    values = [float(trial.values[0]) for trial in group.finished]
    n = len(values)
    mean, deviation = _mean_and_deviation(values)
    return Point(
        id=group.id,
        name=group.name,
        params=group.params,
        trials=tuple(trial.number for trial in group.finished),
        seeds=tuple(map(seed_of, group.finished)),
        values=tuple(values),
        diverged=len(group.diverged),
        feasible=group.feasible,
        mean=mean,
        standard_error=None if deviation is None else deviation / math.sqrt(n),
        posterior_mean=posterior_mean,
        posterior_sd=posterior_sd,
    )
