"""Which trials are runs of one point: they have the same parameters, and each its own seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from mdaf.sweeper.storage.late_reads import attribute, holds
from mdaf.sweeper.trials.retries import key_of_point, point_of
from mdaf.sweeper.trials.user_attrs import POINT_ID, SEED, WITHDRAWN


def point_id(point: Mapping[str, Any]) -> str:
    """12 hex digits that tell a point from the others of its study by its parameters alone."""
    return hashlib.sha256(json.dumps(key_of_point(point)).encode()).hexdigest()[:12]


def point_id_of(trial: FrozenTrial) -> str:
    """The id of a trial's point, as the race recorded it; or computed, for a trial that no race began."""
    recorded = attribute(trial, POINT_ID)
    return recorded if isinstance(recorded, str) else point_id(point_of(trial))


def seed_of(trial: FrozenTrial) -> int | None:
    """The seed of a trial's run, if it is known."""
    seed = attribute(trial, SEED)
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def seeds_by_point(trials: Sequence[FrozenTrial]) -> dict[str, set[int]]:
    """The id of each point -> the seeds that its trials had, whatever became of them."""
    found: dict[str, set[int]] = {}
    for trial in trials:
        if not holds(trial, WITHDRAWN) and point_of(trial):
            seed, seeds = seed_of(trial), found.setdefault(point_id_of(trial), set())
            if seed is not None:
                seeds.add(seed)
    return found
