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
    ``shown``              the mean difference where the verdict is better, on average; None where it never is.
    """

    effect: float
    better: float
    worse: float
    pairs: float
    shown: float | None = None


@functools.lru_cache(maxsize=256)
def power_of(effect: float, looks: tuple[int, ...], level: float, futility: int | None = None) -> Power:
    """Simulated; ``futility``: pairs from which a mean that is not positive stops, None if that is never done."""
    differences = _sequences(looks[-1]) + effect
    values = t_values(differences, looks)
    limits = critical(looks, level)
    better, worse = values > limits, values < -limits
    futile = (np.asarray(looks) >= (futility or np.inf)) & (values <= 0)
    stops = better | worse | futile
    stops[:, -1] = True
    at = stops.argmax(axis=1)
    rows = np.arange(len(at))
    found = better[rows, at]
    means = np.cumsum(differences, axis=1)[rows, np.asarray(looks)[at] - 1] / np.asarray(looks)[at]
    return Power(
        effect=effect,
        better=float(found.mean()),
        worse=float(worse[rows, at].mean()),
        pairs=float(np.asarray(looks)[at].mean()),
        shown=float(means[found].mean()) if found.any() else None,
    )


@functools.lru_cache(maxsize=64)
def detectable_effect(looks: tuple[int, ...], level: float, futility: int | None = None) -> float | None:
    """The smallest true difference, in standard deviations of the differences, that is found with 80 %."""

    def short(effect: float) -> float:
        return power_of(effect, looks, level, futility).better - POWER

    return float(optimize.brentq(short, 0.0, LARGEST, xtol=1e-3)) if short(LARGEST) > 0 else None


def exaggeration(effect: float, looks: tuple[int, ...], level: float, futility: int | None = None) -> float | None:
    """By what share of itself a true ``effect`` is shown too large where it is called better, on average.

    It is called better where the mean happens to be large. None where it is never called better.
    """
    shown = power_of(effect, looks, level, futility).shown
    return None if shown is None else shown / effect - 1


@functools.lru_cache(maxsize=4)
def _sequences(pairs: int) -> np.ndarray:
    rng = np.random.default_rng(stream_seed(0, "power of looks", str(pairs)))
    return np.concatenate(list(drawn(rng, SEQUENCES, pairs)))
