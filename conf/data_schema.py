"""Types and bounds of the ``data`` group."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from conf.schema import bounded


@dataclass
class UserBehavior:
    """Taobao's UserBehavior.csv."""

    _target_: str = MISSING
    root: str = MISSING
    path: str | None = MISSING
    length: int = bounded(1)
    negatives: int = bounded(1)
    utc_offset_hours: float = bounded(-12, 14)
    period_start: str = MISSING
    period_end: str = MISSING
    validation_start: str = MISSING
    test_start: str = MISSING
    min_count: dict[str, int] = MISSING
    max_bad_fraction: float = bounded(0, 1)
    seed: int = bounded(0)


def register() -> None:
    """Puts the schemas of the group into Hydra's config store."""
    store = ConfigStore.instance().store
    store(group="data", name="schema_user_behavior", node=UserBehavior)
