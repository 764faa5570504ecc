"""A stand-in for the objective of a sweep: a bowl over the searched box, and the noise that one seed adds to it.

The first bowl is a least-squares fit to 24 trials of two epochs on ``user_behavior`` (two sweeps of twelve, one seed)
with the negatives of version 0.1, which were items that the user never touched:
best AUC 0.899, weak / balanced / strong at .8983 / .8966 / .8915, its optimum beyond the weak corner. What remains
around the fit has a standard deviation of 0.0009, the five seeds of one point one of 0.0010. Other logs have another
noise, which a report of Phase 4 measures; on the small synthetic log 0.0045 to 0.0073 was found. Other data put the
optimum elsewhere, so the second kind of bowl has it anywhere inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution

from mdaf.streams import stream_seed

SPACE: dict[str, BaseDistribution] = {
    "regularization.dropout": FloatDistribution(0.15, 0.35),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-4, log=True),
    "regularization.label_smoothing": FloatDistribution(0.0, 0.10),
}
# What every sweep tries first: weak, balanced, strong.
KNOWN_POINTS = [
    dict(zip(SPACE, point, strict=True)) for point in ((0.20, 1e-5, 0.0), (0.25, 3e-5, 0.05), (0.30, 5e-5, 0.10))
]
BEST = 0.8992
CURVATURE = np.array([0.0047, 0.0013, 0.0030])  # AUC lost at one width of the box from the optimum, by parameter
FITTED_OPTIMUM = np.array([-0.09, -0.30, 0.35])  # in widths of the box from its lower corner
MARGIN = 0.15  # of an optimum inside, to the walls of the box


@dataclass(frozen=True)
class Bowl:
    """A quadratic bowl whose optimum lies at ``optimum`` (3,), in widths of the box from its lower corner."""

    optimum: np.ndarray

    def value(self, params: dict[str, float]) -> float:
        """The true AUC of a point, that is, without noise."""
        return self._at(unit(params))

    @property
    def best(self) -> float:
        """The highest true AUC within the box."""
        return self._at(np.clip(self.optimum, 0.0, 1.0))

    def _at(self, point: np.ndarray) -> float:
        return float(BEST - np.sum(CURVATURE * (point - self.optimum) ** 2))


def fitted() -> Bowl:
    """The bowl that was fitted to the trials on ``user_behavior``."""
    return Bowl(FITTED_OPTIMUM)


def inside(seed: int) -> Bowl:
    """A bowl whose optimum lies anywhere in the box, ``MARGIN`` off its walls."""
    random = np.random.default_rng(stream_seed(seed, "optimum"))
    return Bowl(random.uniform(MARGIN, 1 - MARGIN, len(SPACE)))


def noise(seed: int, trials: int, sd: float, stream: str = "noise") -> np.ndarray:
    """What training with one seed adds to the true AUC of each trial, shape ``(trials,)``."""
    return sd * np.random.default_rng(stream_seed(seed, stream)).standard_normal(trials)


def unit(params: dict[str, float]) -> np.ndarray:
    """The coordinates of a point in the box, shape ``(3,)``: 0 at a parameter's lower end, 1 at its upper end."""
    coordinates = []
    for name, distribution in SPACE.items():
        assert isinstance(distribution, FloatDistribution)
        value, low, high = params[name], distribution.low, distribution.high
        if distribution.log:
            value, low, high = np.log(value), np.log(low), np.log(high)
        coordinates.append((value - low) / (high - low))
    return np.array(coordinates)
