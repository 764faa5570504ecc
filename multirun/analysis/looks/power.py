"""What a design of looks finds, and how many pairs it takes until it stops."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from mdaf.multirun.analysis.looks.levels import critical, drawn, t_values
from mdaf.multirun.analysis.statistics import POWER
from mdaf.streams import stream_seed

SEQUENCES = 20_000  # simulated: a share is then known to 0.3 percentage points
LARGEST = 64.0  # standard deviations; what is not found there is not found at all


@dataclass(frozen=True)
class Power:
    """What a design does where the true difference is ``effect`` standard deviations of the differences.

    ``better``, ``worse``  how often the verdict is that.
    ``pairs``              on average until it stops.
    """

    effect: float
    better: float
    worse: float
    pairs: float


@functools.lru_cache(maxsize=256)
def power_of(effect: float, looks: tuple[int, ...], level: float, futility: int | None = None) -> Power:
    """Simulated; ``futility``: pairs from which a mean that is not positive stops, None if that is never done."""
    values = t_values(_sequences(looks[-1]) + effect, looks)
    limits = critical(looks, level)
    better, worse = values > limits, values < -limits
    futile = (np.asarray(looks) >= (futility or np.inf)) & (values <= 0)
    stops = better | worse | futile
    stops[:, -1] = True
    at = stops.argmax(axis=1)
    rows = np.arange(len(at))
    return Power(
        effect=effect,
        better=float(better[rows, at].mean()),
        worse=float(worse[rows, at].mean()),
        pairs=float(np.asarray(looks)[at].mean()),
    )


@functools.lru_cache(maxsize=64)
def detectable_effect(looks: tuple[int, ...], level: float, futility: int | None = None) -> float | None:
    """The smallest true difference, in standard deviations of the differences, that is found with 80 %."""

    def short(effect: float) -> float:
        return power_of(effect, looks, level, futility).better - POWER

    return float(optimize.brentq(short, 0.0, LARGEST, xtol=1e-3)) if short(LARGEST) > 0 else None


@functools.lru_cache(maxsize=4)
def _sequences(pairs: int) -> np.ndarray:
    rng = np.random.default_rng(stream_seed(0, "power of looks", str(pairs)))
    return np.concatenate(list(drawn(rng, SEQUENCES, pairs)))
