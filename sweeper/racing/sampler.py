"""``hydra/sweeper/sampler=racing``: the arguments of a race, as an object that Hydra can make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.overrides import SIGNS, key_of


class RacingSampler(BaseSampler):
    """Runs a point on as many seeds as it takes to tell it from the others.

    ``mdaf.sweeper.racing.race`` chooses points and seeds. This class holds its arguments. Optuna asks it only for the
    parameters that a ``custom_search_space`` suggests at a new point: these are drawn by TPE.

    ``seeds``     the seeds of the runs. Every point begins with the first one, and no run has any other.
    ``seed_key``  the key of the job's config that is set to the seed; ``+`` before it adds the key.
    ``start``     quasi-random points after the known ones, before the model chooses.
    ``seed``      from which all draws are made; None: at random.

    Raises UserError for arguments that make no sense.
    """

    def __init__(self, seeds: Sequence[int], seed_key: str = "seed", start: int = 9, seed: int | None = None) -> None:
        given = OmegaConf.to_container(seeds) if OmegaConf.is_config(seeds) else seeds
        key = "hydra.sweeper.sampler"
        if not isinstance(given, list | tuple) or not given or not all(map(_is_seed, given)):
            raise UserError(f"{key}.seeds: found {given}, expected a list of whole numbers from 0, at least one")
        if twice := sorted({one for one in given if list(given).count(one) > 1}):
            raise UserError(f"{key}.seeds: found {twice[0]} twice, expected each seed once")
        if not isinstance(seed_key, str) or not seed_key.lstrip(SIGNS):
            raise UserError(f"{key}.seed_key: found {seed_key!r}, expected the key of the job's config for its seed")
        if isinstance(start, bool) or not isinstance(start, int) or start < 1:
            raise UserError(f"{key}.start: found {start}, expected a whole number from 1")
        self.seeds = tuple(int(one) for one in given)
        self.seed_key = seed_key
        self.start = start
        self.seed = seed
        self._tpe = TPESampler(seed=seed, constant_liar=True)

    def override(self, seed: int) -> str:
        """The override that gives a job its seed."""
        return f"{self.seed_key}={seed}"

    def without_seed(self, fixed: Sequence[str]) -> list[str]:
        """Overrides without the one of the seed, which each run has its own of."""
        return [text for text in fixed if key_of(text) != self.seed_key.lstrip(SIGNS)]

    # ---- Optuna's own questions, which only a custom search space leaves to be asked

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
