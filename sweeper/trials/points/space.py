"""The search space as overrides and ``params`` give it, the overrides that every job gets, and a point as overrides."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.errors import UserError
from mdaf.streams import stream_seed
from mdaf.sweeper.hydra_ext.distributions import distribution_of, grid_values
from mdaf.sweeper.hydra_ext.overrides import (
    SIGNS,
    extends_list,
    hydra_value,
    key_of,
    meant,
    override_text,
    parsed,
    same,
)

Space = dict[str, BaseDistribution]
# What a job of this program must know of its sweep.
ABOUT_JOBS = ("sweep.storage", "sweep.objectives", "sweep.artifacts", "sweep.force", "resume")


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
        return [override_text(f"{self.signs.get(name, '')}{name}", value) for name, value in point.items()]


def wanted(params: Mapping[Any, Any], typed: Sequence[str], *, ours: bool = False) -> Wanted:
    """What the sweeper's own ``params`` and the overrides ``typed`` on the command line ask for.

    ``ours``  whether this program is swept, whose keys below ``sweep`` are about the sweep itself.

    What is typed wins: a value fixes a parameter, an interval narrows it or joins it to the space. UserError where a
    key is both searched and set, since then the study would record one value and the job train another.
    """
    keys = {key_of(text) for text in typed}
    _check_flat(params)
    given = [f"{key!s}={_param(value)}" for key, value in params.items() if str(key).lstrip(SIGNS) not in keys]
    space: Space = {}
    signs, fixed = {}, {}
    for text in (*given, *typed):
        read = _read(text)
        if read.is_sweep_override() and not read.is_delete():
            key = read.get_key_element()
            name = key.lstrip(SIGNS)
            space[name], signs[name] = _distribution(text, read), key[: len(key) - len(name)]
        else:
            fixed[text if extends_list(read) else read.get_key_element()] = text
    for text in fixed.values():
        if (name := key_of(text)) in space:
            raise UserError(f"{name}: is searched and also set by {text}; take one of the two away")
    if not ours:
        return Wanted(space, signs, list(fixed.values()), [])
    task = [text for text in fixed.values() if not key_of(text).startswith("sweep.") and key_of(text) != "resume"]
    return Wanted(space, signs, task, [text for text in fixed.values() if key_of(text) in ABOUT_JOBS])


def _check_flat(params: Mapping[Any, Any]) -> None:
    """UserError where a parameter is written below its node, or in a further ``params``: it would not be searched."""
    for key, value in params.items():
        for name, inner in _leaves(str(key), value) if isinstance(value, Mapping) else ():
            if isinstance(inner, str) and _is_swept(inner):
                flat = name.removeprefix("params.")
                raise UserError(
                    f"hydra.sweeper.params: {flat} is written below {key}, where it is not searched; write it in one "
                    f"line, {flat}: {inner}, or type '{flat}={inner}'"
                )


def _leaves(prefix: str, node: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}.{key}", value)
        else:
            yield f"{prefix}.{key}", value


def _is_swept(text: str) -> bool:
    try:
        return parsed(f"key={text}").is_sweep_override()
    except HydraException:
        return False


def _param(value: Any) -> str:
    """A value of the sweeper's ``params`` as the text of an override: a string of the config is one already."""
    return value if isinstance(value, str) else hydra_value(value)


def _read(text: str) -> Override:
    """An override, as Hydra reads it. UserError where it cannot."""
    try:
        return parsed(text)
    except HydraException as error:
        raise UserError(f"{text}: {error}") from None


def _distribution(text: str, read: Override) -> BaseDistribution:
    """UserError for an empty range, bounds in the wrong order, the logarithm of zero, a kind of sweep Optuna lacks.

    And for two choices that are equal in Python but have two types, such as 1 and true: a study records both as the
    first of them.
    """
    try:
        distribution = distribution_of(read)
    except ValueError as error:
        raise UserError(f"{text}: {error}") from None
    first: dict[Any, Any] = {}
    for choice in distribution.choices if isinstance(distribution, CategoricalDistribution) else ():
        before = first.setdefault(choice, choice)
        if type(before) is not type(choice):
            one, other = hydra_value(before), hydra_value(choice)
            raise UserError(f"{text}: a study cannot tell {one} from {other}; take one of the two away")
    return distribution


def overwritten(config: DictConfig, choices: Mapping[str, Any], point: Mapping[str, Any]) -> list[str]:
    """The parameters of a point whose value a job's config does not hold, since another override was applied later.

    Setting the value again must change nothing. So a mapping may be a part of the node that it was merged into, and an
    interpolation may be resolved to anything. A group is compared by the name of its option, in ``choices``.
    """
    again = copy.deepcopy(config)
    OmegaConf.set_readonly(again, False)
    before = repr(OmegaConf.to_container(config))

    def is_held(key: str, value: Any) -> bool:
        if key in choices and not isinstance(value, Mapping):
            return same(plain(choices[key]), value)
        try:
            OmegaConf.update(again, key, value, merge=True, force_add=True)
        except (OmegaConfBaseException, LookupError, ValueError):
            return False
        return repr(OmegaConf.to_container(again)) == before

    return [name for name, recorded in point.items() if not is_held(name.lstrip(SIGNS), meant(recorded))]


def effective_value(config: DictConfig, choices: Mapping[str, Any], name: str) -> Any:
    """What a job's config holds of a parameter, resolved and in plain types; of a group the name of its option."""
    key = name.lstrip(SIGNS)
    return plain(choices[key] if key in choices else OmegaConf.select(config, key), resolve=True)


def plain(value: Any, *, resolve: bool = False) -> Any:
    """A node of a config in plain types."""
    return OmegaConf.to_container(value, resolve=resolve) if OmegaConf.is_config(value) else value


def checked_value(name: str, value: Any, distribution: BaseDistribution) -> Any:
    """A parameter's value as a study holds it. UserError unless it is a number, or one of the choices."""
    if isinstance(distribution, CategoricalDistribution):
        fits = any(type(value) is type(choice) and equal(value, choice) for choice in distribution.choices)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise UserError(f"{name}: the study holds {value!r} for it, which is no value of this sweep's {distribution}")
    return value


def equal(one: Any, other: Any) -> bool:
    """Whether two choices are the same. NaN, which equals nothing, is the same as NaN."""
    return bool(one == other) or (one != one and other != other)


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
            axes.append([(name, value) for value in grid_values(distribution)])
        except ValueError:
            raise UserError(
                f"{name}: a grid takes parameters whose values can be counted; expected choice(...) or range(...)"
            ) from None
    points = [dict(point) for point in itertools.product(*axes)]
    random.Random(stream_seed(seed, "grid")).shuffle(points)
    return points
