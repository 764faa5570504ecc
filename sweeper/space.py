"""What a sweep searches, what every job of it gets as it is, and how a point is written as overrides."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.streams import stream_seed
from sweeper.errors import UserError
from sweeper.grammar import hydra_value

Space = dict[str, BaseDistribution]
# What a job must know of its sweep.
ABOUT_JOBS = ("sweep.storage", "sweep.objectives", "sweep.artifacts", "sweep.force", "resume")
SIGNS = "+~"  # Hydra's marks before a key: add it, delete it


@dataclass(frozen=True)
class Wanted:
    """A sweep as its user wants it.

    ``space``  parameter -> distribution
    ``signs``  parameter -> Hydra's marks for a key that the config may not have
    ``fixed``  overrides that every job gets
    ``own``    more of these, about the sweep itself: no part of what a trial is
    """

    space: Space
    signs: dict[str, str]
    fixed: list[str]
    own: list[str]

    def overrides_of(self, point: Mapping[str, Any]) -> list[str]:
        """The overrides that put a job at a point."""
        return [f"{self.signs.get(name, '')}{name}={_text(value)}" for name, value in point.items()]


def wanted(params: Mapping[Any, Any], typed: Sequence[str]) -> Wanted:
    """What the sweeper's own ``params`` and the overrides ``typed`` on the command line ask for together.

    What is typed wins: a value fixes a parameter, an interval narrows it or joins it to the space. UserError where a
    key is both searched and set, since then the study would record one value and the job train another.
    """
    parsed = OverridesParser.create().parse_overrides(list(typed))
    keys = {override.get_key_element().lstrip(SIGNS) for override in parsed}
    given = [f"{key!s}={value}" for key, value in params.items() if str(key).lstrip(SIGNS) not in keys]
    space: Space = {}
    signs, fixed = {}, []
    for overrides in (given, list(typed)):
        distributions, values, deletions = _distributions(overrides)
        fixed += [f"{key}={value}" for key, value in values.items()] + deletions
        for key, distribution in distributions.items():
            name = key.lstrip(SIGNS)
            space[name], signs[name] = distribution, key[: len(key) - len(name)]
    for override in fixed:
        if (name := key_of(override)) in space:
            raise UserError(f"{name}: is searched and also set by {override}; take one of the two away")
    task = [
        override for override in fixed if not key_of(override).startswith("sweep.") and key_of(override) != "resume"
    ]
    return Wanted(space, signs, task, [override for override in fixed if key_of(override) in ABOUT_JOBS])


def _distributions(overrides: list[str]) -> tuple[Space, dict[str, Any], list[str]]:
    """UserError for an empty range, bounds in the wrong order, the logarithm of zero, a kind of sweep Optuna lacks."""
    for override in overrides:
        try:
            create_params_from_overrides([override])
        except (ValueError, NotImplementedError, AssertionError) as error:
            reason = str(error) or "expected choice(...), range(...) or interval(...)"
            raise UserError(f"{override}: {reason}") from None
    return create_params_from_overrides(overrides)


def key_of(override: str) -> str:
    """The key that an override sets, without Hydra's marks."""
    return override.lstrip(SIGNS).partition("=")[0]


def _text(value: Any) -> str:
    """A parameter's value in Hydra's override grammar."""
    return value if _is_syntax(value) else hydra_value(value)


def _is_syntax(value: Any) -> bool:
    """Whether a choice is text that Hydra is yet to read, as upstream keeps lists, mappings, null and quoted text."""
    if not isinstance(value, str) or not (value == "null" or value[:1] in tuple("[{'\"")):
        return False
    try:
        return not OverridesParser.create().parse_override(f"key={value}").is_sweep_override()
    except OverrideParseException:
        return False


def meant(value: Any) -> Any:
    """What the config of a job at this value holds."""
    return OverridesParser.create().parse_override(f"key={value}").value() if _is_syntax(value) else value


def meaning(distribution: BaseDistribution) -> str:
    """What a parameter is, whatever its interval: ``float`` or ``int``, perhaps ``log``, or its choices."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + json.dumps(list(distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    return f"{kind}, log" if distribution.log else kind


def grid_points(space: Space, seed: int) -> list[dict[str, Any]]:
    """Every point of a discrete space, in an order that the seed decides. UserError for a continuous parameter."""
    axes = []
    for name, distribution in space.items():
        try:
            axes.append([(name, value) for value in OptunaSweeperImpl._to_grid_sampler_choices(distribution)])
        except ValueError:
            raise UserError(
                f"{name}: a grid takes parameters whose values can be counted; expected choice(...) or range(...)"
            ) from None
    points = [dict(point) for point in itertools.product(*axes)]
    random.Random(stream_seed(seed, "grid")).shuffle(points)
    return points
