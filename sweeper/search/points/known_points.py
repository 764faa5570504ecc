"""Known points: the points under the key ``enqueue``, converted to the values that the study records.

``sweep`` plans them before anything is sampled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.errors import UserError
from mdaf.naming.config_keys import key_question, keys_of
from mdaf.sweeper.hydra_ext.overrides import SIGNS, meant, same
from mdaf.sweeper.storage.optuna_internals import contains
from mdaf.sweeper.trials.points.space import Space

log = logging.getLogger(__name__)


class OutsideError(ValueError):
    """A distribution does not contain a value."""


def known_points(
    enqueue: Mapping[str, Any], space: Space, config: DictConfig, *, extended: bool, tell: bool
) -> list[tuple[str, dict[str, Any]]]:
    """The names and the parameters of all points that are inside the search space.

    ``extended``  whether the sweep's own function suggests further parameters, which are not in ``space``.
    ``tell``      whether to log which points and keys are left out.

    Raises UserError for a key that does not exist.
    """
    known = [*keys_of(config), *space]
    planned = []
    for name, point in enqueue.items():
        if not isinstance(point, Mapping):
            raise UserError(f"hydra.sweeper.enqueue.{name}: found {point!r}, expected a mapping of keys to values")
        inside, outside, unsearched = {}, [], []
        for key, value in _flat(point, space).items():
            if key in space:
                try:
                    inside[key] = recorded(space[key], value)
                except OutsideError:
                    outside.append(f"{key}={value!r}")
            elif extended:
                inside[key] = value
            elif key in known or key.partition(".")[0] in space:
                unsearched.append(key)
            else:
                raise UserError(f"hydra.sweeper.enqueue.{name}.{key}: there is no such key{key_question(key, known)}")
        if outside and tell:
            log.info("the known point %s lies outside the space at %s and is left out", name, ", ".join(outside))
        elif unsearched and inside and tell:
            log.info("the known point %s is tried without %s, which is not searched", name, ", ".join(unsearched))
        if inside and not outside:
            planned.append((name, inside))
    return planned


def recorded(distribution: BaseDistribution, value: Any) -> Any:
    """A value as the study records it: the text of a choice, or a number of the interval's type.

    A choice may also be given as that text. Raises OutsideError if the distribution does not contain the value.
    """
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if same(meant(choice), value):
                return choice
        if isinstance(value, str) and value in distribution.choices:
            return value
        raise OutsideError
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float) or not contains(distribution, float(value)):
        raise OutsideError
    if isinstance(distribution, FloatDistribution):
        return float(value)
    if value != int(value):
        raise OutsideError
    return int(value)


def _flat(point: Mapping[str, Any], space: Space, prefix: str = "") -> dict[str, Any]:
    """A point with dotted keys, without signs. A mapping is taken as a value only if its key is searched."""
    found: dict[str, Any] = {}
    for name, value in point.items():
        key = f"{prefix}{str(name).lstrip(SIGNS)}"
        if isinstance(value, Mapping) and key not in space:
            found |= _flat(value, space, f"{key}.")
        else:
            found[key] = value
    return found
