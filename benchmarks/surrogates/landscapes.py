"""Landscapes on the unit cube of the three searched parameters, on which ways to decide a sweep are simulated.

The units are AUC. A landscape is drawn from a random generator, so each repetition of a simulation has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from benchmarks.surrogates.bowls import CURVATURE, FITTED_OPTIMUM, MARGIN

BP = 1e-4
CURVATURES = (5 * BP, 60 * BP)  # of the landscape `anywhere`, along the axes of its random rotation
WAVES, LENGTH, HEIGHT = 200, 0.4, 12 * BP  # of the landscape `rough`

Truth = Callable[[np.ndarray], np.ndarray]  # coordinates (points, 3) -> AUC (points,)


@dataclass(frozen=True)
class Landscape:
    """What a point is truly worth, that is, without noise. Its best point is worth 0."""

    truth: Truth

    def regret(self, point: np.ndarray) -> float:
        """How much worse a point (3,) is than the best one."""
        return -float(self.truth(point[None, :])[0])


def fitted(rng: np.random.Generator) -> Landscape:
    """The bowl that was fitted to the trials on ``user_behavior``: its optimum lies beyond a corner."""
    return _bowl(FITTED_OPTIMUM)


def inside(rng: np.random.Generator) -> Landscape:
    """The same bowl with its optimum anywhere inside the cube, ``MARGIN`` off its walls."""
    return _bowl(rng.uniform(MARGIN, 1 - MARGIN, 3))


def flat(rng: np.random.Generator) -> Landscape:
    """All points are equally good, so every "better" is false."""
    return Landscape(lambda points: np.zeros(len(points)))


def anywhere(rng: np.random.Generator) -> Landscape:
    """A bowl along rotated axes, its optimum in the cube or up to .3 beyond it."""
    optimum = rng.uniform(-0.3, 1.3, 3)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    curvature = rotation @ np.diag(rng.uniform(*CURVATURES, 3)) @ rotation.T
    return _less_its_best(lambda points: -np.einsum("ni,ij,nj->n", points - optimum, curvature, points - optimum))


def rough(rng: np.random.Generator) -> Landscape:
    """A sum of waves: random Fourier features of a Gaussian kernel (Rahimi and Recht 2007)."""
    frequencies, phases = rng.standard_normal((3, WAVES)) / LENGTH, rng.uniform(0, 2 * np.pi, WAVES)
    heights = HEIGHT * np.sqrt(2 / WAVES) * rng.standard_normal(WAVES)
    return _less_its_best(lambda points: np.cos(points @ frequencies + phases) @ heights)


LANDSCAPES = {"fitted": fitted, "inside": inside, "flat": flat, "anywhere": anywhere, "rough": rough}


def _bowl(optimum: np.ndarray) -> Landscape:
    def truth(points: np.ndarray) -> np.ndarray:
        return -((points - optimum) ** 2) @ CURVATURE

    best = truth(np.clip(optimum, 0, 1)[None, :])[0]
    return Landscape(lambda points: truth(points) - best)


def _less_its_best(truth: Truth) -> Landscape:
    """The landscape less its greatest value at 4,096 Sobol points."""
    best = truth(qmc.Sobol(3, rng=0).random_base2(12)).max()
    return Landscape(lambda points: truth(points) - best)
