"""All uses of private names of hydra-optuna-sweeper, under public names. "Upstream" means that plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_optuna_distribution_from_override
from optuna.distributions import BaseDistribution


def distribution_of(override: Override) -> BaseDistribution:
    """The distribution that upstream makes of a sweep override.

    Raises ValueError, NotImplementedError or AssertionError if it cannot.
    """
    return create_optuna_distribution_from_override(override)


def grid_values(distribution: BaseDistribution) -> Sequence[Any]:
    """The values that a grid takes from a distribution. Raises ValueError if it is continuous."""
    return OptunaSweeperImpl._to_grid_sampler_choices(distribution)
