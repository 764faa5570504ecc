"""A search space as a unit cube: points become coordinates for the Gaussian process, and uniform numbers become points.

A number runs from 0 to 1 over its interval, by its logarithm where it is searched so. A choice has one coordinate for
each of its values (one-hot), scaled so that two different values are at distance 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.sweeper.trials.points.space import Space, equal

Point = Mapping[str, Any]


class Parameter(Protocol):
    """One parameter of the space. ``width`` is the number of its coordinates."""

    width: int

    def values(self, uniform: np.ndarray) -> np.ndarray:
        """The values at uniform numbers in [0, 1), shape ``(n,)``, in the form that ``coordinates`` takes."""

    def recorded(self, value: Any) -> Any:
        """One of those values as the study records it."""

    def code(self, recorded: Any) -> float:
        """The opposite of ``recorded``. Raises ValueError for a value that the parameter cannot have."""

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """The coordinates of values, shape ``(n, width)``."""


class Number:
    """A float or an integer, perhaps with steps or a logarithmic interval."""

    width = 1

    def __init__(self, kind: FloatDistribution | IntDistribution) -> None:
        self._kind, self._whole = kind, isinstance(kind, IntDistribution)
        self._low, self._high = float(kind.low), float(kind.high)

    def values(self, uniform: np.ndarray) -> np.ndarray:
        low, high, step = self._low, self._high, self._kind.step
        if self._kind.log and self._whole:
            real = np.exp(_between(uniform, math.log(low - 0.5), math.log(high + 0.5)))
            return np.clip(np.rint(real), low, high)
        if self._kind.log:
            return np.clip(np.exp(_between(uniform, math.log(low), math.log(high))), low, high)
        if step is None:
            return np.clip(_between(uniform, low, high), low, high)
        count = round((high - low) / step) + 1
        return np.minimum(low + step * np.minimum(np.floor(uniform * count), count - 1), high)

    def recorded(self, value: Any) -> int | float:
        return int(value) if self._whole else float(value)

    def code(self, recorded: Any) -> float:
        if isinstance(recorded, bool) or not isinstance(recorded, int | float) or not math.isfinite(recorded):
            raise ValueError(f"{recorded!r} is no number")
        if self._kind.log and recorded <= 0:
            raise ValueError(f"{recorded!r} has no logarithm")
        return float(recorded)

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        low, high = self._low, self._high
        if low == high:
            return np.zeros((len(values), 1))
        if self._kind.log:
            values, low, high = np.log(values), math.log(low), math.log(high)
        return ((values - low) / (high - low))[:, None]


class Choice:
    """A categorical parameter, by the index of its choice."""

    def __init__(self, kind: CategoricalDistribution) -> None:
        self._choices = kind.choices
        self.width = len(kind.choices)

    def values(self, uniform: np.ndarray) -> np.ndarray:
        return np.minimum(np.floor(uniform * self.width), self.width - 1)

    def recorded(self, value: Any) -> Any:
        return self._choices[int(value)]

    def code(self, recorded: Any) -> float:
        for index, choice in enumerate(self._choices):
            if type(choice) is type(recorded) and equal(choice, recorded):
                return float(index)
        raise ValueError(f"{recorded!r} is none of the choices")

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        if self.width == 1:
            return np.zeros((len(values), 1))
        return np.eye(self.width)[values.astype(int)] / math.sqrt(2)


class Cube:
    """The space's parameters in their order, and the maps between points, uniform numbers and coordinates."""

    def __init__(self, space: Space) -> None:
        self.names = list(space)
        self._parameters = [_parameter(distribution) for distribution in space.values()]
        self.searched = sum(not distribution.single() for distribution in space.values())

    def coordinates(self, points: Sequence[Point]) -> np.ndarray:
        """The coordinates of points, shape ``(points, coordinates)``. Raises ValueError, see ``holds``."""
        codes = [[one.code(point[name]) for name, one in self._by_name()] for point in points]
        return self._coordinates(np.array(codes, dtype=float).reshape(len(points), len(self.names)))

    def holds(self, point: Point) -> bool:
        """Whether a point has exactly these parameters, each of a possible kind; it may lie outside the intervals."""
        if set(point) != set(self.names):
            return False
        try:
            self.coordinates([point])
        except ValueError:
            return False
        return True

    def at(self, uniform: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
        """The points at uniform numbers, shape ``(points, parameters)``, and their coordinates."""
        columns = [one.values(uniform[:, index]) for index, one in enumerate(self._parameters)]
        values = np.stack(columns, axis=1) if columns else np.zeros((len(uniform), 0))
        points = [
            {name: one.recorded(value) for (name, one), value in zip(self._by_name(), row, strict=True)}
            for row in values
        ]
        return points, self._coordinates(values)

    def _by_name(self) -> list[tuple[str, Parameter]]:
        return list(zip(self.names, self._parameters, strict=True))

    def _coordinates(self, values: np.ndarray) -> np.ndarray:
        columns = [one.coordinates(values[:, index]) for index, one in enumerate(self._parameters)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(values), 1))


def _parameter(distribution: BaseDistribution) -> Parameter:
    if isinstance(distribution, CategoricalDistribution):
        return Choice(distribution)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return Number(distribution)


def _between(uniform: np.ndarray, low: float, high: float) -> np.ndarray:
    return low + uniform * (high - low)
