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


@dataclass
class Synthetic:
    """A made-up click log."""

    _target_: str = MISSING
    root: str = MISSING
    length: int = bounded(1)
    users: int = bounded(1)
    items: int = bounded(1)
    categories: int = bounded(2)
    views: int = bounded(0)
    train_rows: int = bounded(1)
    validation_rows: int = bounded(1)
    test_rows: int = bounded(1)
    click_rate: float = bounded(0, 1, open_low=True, open_high=True)
    start: str = MISSING
    train_days: int = bounded(1)
    utc_offset_hours: float = bounded(-12, 14)
    min_count: dict[str, int] = MISSING
    seed: int = bounded(0)


def register() -> None:
    """Puts the schemas of the group into Hydra's config store."""
    store = ConfigStore.instance().store
    store(group="data", name="schema_user_behavior", node=UserBehavior, replace=True)
    store(group="data", name="schema_synthetic", node=Synthetic, replace=True)
