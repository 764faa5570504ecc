"""Whether a trial may be the best one."""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial may be the best: its values are finite, and every constraint that it recorded is met.

    Other programs record infinite values; such a trial diverged. A constraint is met where it is not above zero.
    """
    finite = all(map(math.isfinite, trial.values or ()))
    return finite and all(isinstance(value, int | float) and value <= 0 for value in trial.constraints.values())
