"""The race: which point is run next, and on which seed.

First come the known points, then a few quasi-random ones, each on the first seed. From then on the Gaussian process of
``process`` is fitted to all runs, and top-two Thompson sampling chooses among the tried points and fresh candidates. A
tried point is run on its next seed.

A ``custom_search_space`` suggests parameters that depend on others, so its points have no coordinates. Then a new point
is drawn by TPE, and the model knows of each point only its runs: tried points are compared by their means, and with a
new point by how much points differ.

How runs count that have no value: a point that diverged on a seed has the study's worst value there. A run that failed
for another reason does not count. A point of which no run succeeded is not tried again by the race. A point with a run
that breaks a constraint is not run again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, Trial

from mdaf.errors import UserError
from mdaf.streams import stream_seed
from mdaf.sweeper.racing.cube import Cube
from mdaf.sweeper.racing.points import Group, grouped, runs_of
from mdaf.sweeper.racing.process import fit, posterior
from mdaf.sweeper.racing.sampler import RacingSampler
from mdaf.sweeper.racing.thompson import top_two
from mdaf.sweeper.storage.optuna_internals import stored_trial, trial_id_of
from mdaf.sweeper.trials.allocation import Planned, still_planned
from mdaf.sweeper.trials.points.proposals import Proposal
from mdaf.sweeper.trials.points.same_point import point_id, point_id_of, seed_of, seeds_by_point
from mdaf.sweeper.trials.points.space import Space
from mdaf.sweeper.trials.points.taking import take_free
from mdaf.sweeper.trials.retries import point_of
from mdaf.sweeper.trials.user_attrs import OVERRIDES, POINT, POINT_ID, RETRY_OF, SEED, WITHDRAWN

CANDIDATES = 300  # fresh points among which the model chooses
BEYOND = 0.1  # of the width of an interval at each end, where fresh candidates are moved to that end
FEWEST = 3  # finished runs from which a model is fitted


class Race:
    """Proposes runs of a sweep, from the study's trials alone, so any number of processes may do so at once.

    ``space``      the search space, without what a custom one suggests; ``conditional`` says that there is one.
    ``known``      the known points.
    ``maximize``   whether greater values are better.
    """

    def __init__(
        self, sampler: RacingSampler, space: Space, *, known: Planned, maximize: bool, conditional: bool = False
    ) -> None:
        self.sampler = sampler
        self.known = known
        self.maximize = maximize
        self.space = space
        self.cube = None if conditional else Cube(space)
        self._quasi_random: list[dict[str, Any]] | None = None

    def propose(self, draw: int, trials: Sequence[FrozenTrial], rivals: int = 0) -> Proposal:
        """The run of the trial with this draw. UserError where every point has had every seed.

        ``draw``    names the random stream (``mdaf.sweeper.trials.retries.draw_of``).
        ``trials``  all others of the study.
        ``rivals``  how many processes may choose at this moment. Then a random one of the next seeds is taken, so that
                    they hardly ever take the same.
        """
        if left := still_planned(self.known, trials):
            name, point = random.choice(left[: rivals + 1]) if rivals else left[0]
            return Proposal(point, self.sampler.seeds[0], name, self._id(point))
        rng = np.random.default_rng(None if self.sampler.seed is None else stream_seed(self.sampler.seed, "race", draw))
        if (start := self._started(trials, rivals)) is not None:
            return self._fresh(start)
        groups = grouped(trials, self.cube)
        if sum(len(group.finished) for group in groups) < FEWEST:
            return self._chosen_at_random(groups, rng)
        return self._chosen(groups, rng, rivals)

    def is_free(self, proposal: Proposal, trials: Sequence[FrozenTrial]) -> bool:
        """Whether no other trial is the run that is proposed."""
        if proposal.name is not None and not proposal.again:
            return bool(still_planned([(proposal.name, proposal.point)], trials))
        key = proposal.id or point_id(proposal.point)
        return not proposal.point or proposal.seed not in seeds_by_point(trials).get(key, ())

    def next_seed(self, point: Mapping[str, Any], trials: Sequence[FrozenTrial], rivals: int = 0) -> int:
        """The first seed that no trial of a point has had. UserError if there is none."""
        return self._next(seeds_by_point(trials).get(point_id(point), set()), rivals)

    def with_seed(self, overrides: Sequence[str], seed: int) -> list[str]:
        """A job's overrides with that of its seed."""
        return [*self.sampler.without_seed(overrides), self.sampler.override(seed)]

    def seed_override(self, trial: Trial) -> str:
        """The override of a trial's seed. UserError where the study holds none."""
        seed = seed_of(stored_trial(trial.study, trial))
        if seed is None:
            raise UserError(f"trial {trial.number}: its attribute {SEED} is no seed; expected a whole number")
        return self.sampler.override(seed)

    def settle(self, trial: Trial) -> None:
        """Gives a trial whose point a custom search space has suggested a seed that no other run of the point has."""
        if self.cube is not None or RETRY_OF in trial.user_attrs:
            return
        trials = trial.study.get_trials(deepcopy=False)
        [mine] = [one for one in trials if one.number == trial.number]
        point = point_id(point_of(mine))

        def choose(others: list[FrozenTrial], attempts: int) -> int:
            seed = self._next(seeds_by_point(others).get(point, set()), attempts)
            trial.set_user_attr(OVERRIDES, self.with_seed(trial.user_attrs.get(OVERRIDES, ()), seed))
            trial.set_user_attr(SEED, seed)
            return seed

        def is_free(seed: int, others: list[FrozenTrial]) -> bool:
            return seed not in seeds_by_point(others).get(point, ())

        take_free(trial.study, trial_id_of(trial), trials, choose, is_free, held=seed_of(mine))
        trial.set_user_attr(POINT_ID, point)

    # ---- the beginning

    def _started(self, trials: Sequence[FrozenTrial], rivals: int) -> dict[str, Any] | None:
        """The next quasi-random point; {} leaves the point to TPE; None once the beginning is over."""
        begun = [trial for trial in trials if point_of(trial) and WITHDRAWN not in trial.user_attrs]
        if len({point_id_of(trial) for trial in begun if POINT not in trial.user_attrs}) >= self.sampler.start:
            return None
        if self.cube is None:
            return {}
        if self._quasi_random is None:
            self._quasi_random = quasi_random(self.cube, self.sampler.start, self.sampler.seed)
        left = still_planned([("", point) for point in self._quasi_random], trials)
        if not left:
            return None
        return (random.choice(left[: rivals + 1]) if rivals else left[0])[1]

    def _chosen_at_random(self, groups: Sequence[Group], rng: np.random.Generator) -> Proposal:
        """A random new point, while hardly any run has a value; where all points were tried, a seed of one of them."""
        if self.cube is None:
            return self._fresh({})
        tried = {group.id: group for group in groups}
        new = next((point for point in self._candidates(rng)[0] if point_id(point) not in tried), None)
        if new is not None:
            return self._fresh(new)
        group = min(groups, key=lambda group: len(group.seeds))
        return self._again(group, 0)

    # ---- the model

    def _chosen(self, groups: Sequence[Group], rng: np.random.Generator, rivals: int) -> Proposal:
        tried = [group for group in groups if group.finished or group.diverged or group.pending]
        runs = runs_of(tried, self.cube, maximize=self.maximize, pending=True)
        hyperparameters = fit(runs)
        may = [self._may_run(group) for group in tried]
        if self.cube is None:
            mean, covariance = posterior(runs, hyperparameters, fresh=1)
            at = top_two(mean, covariance, np.array([*may, True]), rng)
            return self._again(tried[at], rivals) if at is not None and at < len(tried) else self._fresh({})
        points, coordinates = self._candidates(rng)
        had = self.cube.coordinates([group.params for group in groups])
        new = ~(coordinates[:, None, :] == had[None, :, :]).all(axis=2).any(axis=1)
        mean, covariance = posterior(runs, hyperparameters, coordinates)
        at = top_two(mean, covariance, np.array([*may, *new]), rng)
        if at is None:
            raise self._exhausted()
        return self._again(tried[at], rivals) if at < len(tried) else self._fresh(points[at - len(tried)])

    def _candidates(self, rng: np.random.Generator) -> tuple[list[dict[str, Any]], np.ndarray]:
        """Random points of the space and their coordinates. Some lie exactly on its edges, as the best may."""
        assert self.cube is not None
        uniform = rng.random((CANDIDATES, len(self.space)))
        return self.cube.at(np.clip((uniform - 0.5) * (1 + 2 * BEYOND) + 0.5, 0, 1))

    def _may_run(self, group: Group) -> bool:
        left = any(seed not in group.seeds for seed in self.sampler.seeds)
        failed = not group.finished and not group.pending
        return left and not failed and group.feasible and self._inside(group.params)

    def _inside(self, point: Mapping[str, Any]) -> bool:
        """Whether a point of an earlier sweep lies in this one's space."""
        if self.cube is None:
            return True
        coordinates = self.cube.coordinates([point])
        return bool(((coordinates >= -1e-9) & (coordinates <= 1 + 1e-9)).all())

    # ---- proposals

    def _fresh(self, point: dict[str, Any]) -> Proposal:
        return Proposal(point, self.sampler.seeds[0], None, self._id(point) if point else None)

    def _again(self, group: Group, rivals: int) -> Proposal:
        name = next((trial.user_attrs[POINT] for trial in group.every if POINT in trial.user_attrs), None)
        return Proposal(group.params, self._next(group.seeds, rivals), name, group.id, again=True)

    def _next(self, had: set[int], rivals: int) -> int:
        left = [seed for seed in self.sampler.seeds if seed not in had]
        if not left:
            raise self._exhausted()
        return random.choice(left[: rivals + 1]) if rivals else left[0]

    def _id(self, point: Mapping[str, Any]) -> str | None:
        """The id of a whole point; a custom search space adds to it before it has one."""
        return None if self.cube is None else point_id(point)

    def _exhausted(self) -> UserError:
        return UserError(
            f"hydra.sweeper.sampler.seeds: every point that may be run has had all {len(self.sampler.seeds)} seeds; "
            "expected more seeds, a wider space, or a smaller hydra.sweeper.n_trials"
        )


def quasi_random(cube: Cube, count: int, seed: int | None) -> list[dict[str, Any]]:
    """Points of a scrambled Sobol sequence that fill the cube evenly, twice ``count``: some may have been tried."""
    from scipy.stats import qmc  # an extra of the light installation

    rng = np.random.default_rng(0 if seed is None else stream_seed(seed, "race", "start"))
    drawn = qmc.Sobol(len(cube.names), scramble=True, rng=rng).random_base2((2 * count - 1).bit_length())
    return cube.at(drawn)[0]
