"""What is simulated: a landscape, the noise of runs on it, and what came of one repetition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmarks.surrogates.bowls import KNOWN_POINTS, unit
from benchmarks.surrogates.landscapes import Landscape
from mdaf.sweeper.trials.points.same_point import point_id

NAMES = ("weak", "balanced", "strong")
KNOWN = list(zip(NAMES, KNOWN_POINTS, strict=True))
BALANCED = dict(KNOWN)["balanced"]

Params = Mapping[str, Any]


class Cell(NamedTuple):
    """What is simulated: landscape, noise of one run, share of its variance that runs of one seed have in common.

    ``rows``  standard deviation of what rows do to a configuration, in units of the noise.
    """

    landscape: str
    noise: float
    common: float
    rows: float


@dataclass
class World:
    """One repetition's landscape and noise."""

    cell: Cell
    landscape: Landscape
    rng: np.random.Generator
    seeds: dict[int, float] = field(default_factory=dict)
    rows: dict[tuple[str, str], float] = field(default_factory=dict)
    runs: int = 0

    def truth(self, point: Params) -> float:
        """What a point is truly worth; 0 is the best."""
        return -self.landscape.regret(unit(dict(point)))

    def run(self, point: Params, seed: int, split: str = "validation") -> float:
        """The value of a new run."""
        self.runs += 1
        noise, common, rows = self.cell.noise, self.cell.common, self.cell.rows
        of_seed = self.seeds.setdefault(seed, float(self.rng.standard_normal()))
        key = (split, point_id(point))
        of_rows = self.rows.setdefault(key, float(self.rng.standard_normal())) if rows else 0.0
        own = math.sqrt(common) * of_seed + math.sqrt(1 - common) * float(self.rng.standard_normal())
        return self.truth(point) + noise * (own + rows * of_rows)


class Outcome(NamedTuple):
    """What came of one repetition."""

    runs: int
    regret: float
    optimism: float
    better: bool
    false: bool
