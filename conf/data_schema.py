"""Types and bounds of the ``data`` group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from mdaf.conf.schema import bounded, positive


@dataclass
class Common:
    """What every data set has."""

    _target_: str = MISSING
    root: str = MISSING
    memory_gb: float = positive()
    bucketing: int = bounded(0)
    history_order: Literal["time", "shuffled"] = MISSING
    decided_labels: Literal["refuse", "warn"] = MISSING
    seed: int = bounded(0)
    length: int = bounded(1)


@dataclass
class Table(Common):
    """Raw rows in files."""

    path: str | None = MISSING
    min_count: dict[str, int] = MISSING
    max_bad_fraction: float = bounded(0, 1)


@dataclass
class Log(Table):
    """Raw rows with times."""

    utc_offset_hours: float = bounded(-12, 14)


@dataclass
class UserBehavior(Log):
    """Taobao's UserBehavior.csv."""

    held_out_users: float = bounded(0, 1, open_high=True)
    splits: str | None = MISSING
    validation_share: float | None = bounded(0, 1, open_low=True, open_high=True)
    test_share: float | None = bounded(0, 1, open_low=True, open_high=True)
    task: str = MISSING
    negatives: int = bounded(1)
    negatives_from: str = MISSING
    period_start: str = MISSING
    period_end: str = MISSING
    validation_start: str = MISSING
    test_start: str = MISSING


@dataclass
class MovieLens(Log):
    """MovieLens in atomic files."""

    held_out_users: float = bounded(0, 1, open_high=True)
    splits: str | None = MISSING
    validation_share: float | None = bounded(0, 1, open_low=True, open_high=True)
    test_share: float | None = bounded(0, 1, open_low=True, open_high=True)
    click_rating: float = MISSING
    genres: Literal["one", "many"] = MISSING
    age: Literal["decades", "number"] = MISSING
    validation_start: str = MISSING
    test_start: str = MISSING


@dataclass
class TaobaoAd(Log):
    """Ali Display Ad Click from its raw files."""

    behaviour_start: str = MISSING
    period_start: str = MISSING
    test_start: str = MISSING
    period_end: str = MISSING
    price: Literal["doublings", "buckets", "vector"] = MISSING
    validation_share: float = bounded(0, 1, open_low=True, open_high=True)


@dataclass
class TaobaoAdJoined(Table):
    """Ali Display Ad Click, already joined."""

    price: Literal["doublings", "buckets", "vector"] = MISSING
    validation_share: float = bounded(0, 1, open_low=True, open_high=True)
    test_share: float = bounded(0, 1, open_low=True, open_high=True)


@dataclass
class SideTable:
    """A table that describes items or users."""

    path: Any = MISSING
    beside: str | None = MISSING
    key: str | None = MISSING
    header: list[str] | None = MISSING
    separator: str | None = MISSING


@dataclass
class EventLog(Log):
    """Anyone's own log: CSV, JSON lines or Parquet."""

    path: Any = MISSING  # a path, or a list of paths
    held_out_users: float = bounded(0, 1, open_high=True)
    samples_path: Any = MISSING
    header: list[str] | None = MISSING
    quotes: bool = MISSING
    item_table: SideTable = MISSING
    user_table: SideTable = MISSING
    columns: dict[str, str | None] = MISSING
    sample_columns: dict[str, str | None] = MISSING
    user_fields: list[str] = MISSING
    item_fields: list[str] = MISSING
    event_fields: list[str] = MISSING
    context_fields: list[str] = MISSING
    numeric_fields: list[str] = MISSING
    numeric: Literal["buckets", "vector"] = MISSING
    buckets: int = bounded(2, 1024)
    list_fields: dict[str, str] = MISSING
    pooling: Literal["mean", "sum"] = MISSING
    separator: str = MISSING
    time_format: str = MISSING
    positive_from: float = MISSING
    history: str = MISSING
    task: str = MISSING
    view: str | None = MISSING
    purchase: str | None = MISSING
    negatives: int = bounded(1)
    negatives_from: str = MISSING
    splits: str | None = MISSING
    validation_start: str | None = MISSING
    test_start: str | None = MISSING
    validation_share: float = bounded(0, 1, open_low=True, open_high=True)
    test_share: float = bounded(0, 1, open_low=True, open_high=True)


@dataclass
class Synthetic(Common):
    """A made-up click log."""

    held_out_users: float = bounded(0, 1, open_high=True)
    users: int = bounded(1)
    items: int = bounded(1)
    categories: int = bounded(2)
    views: int = bounded(0)
    views_before: int = bounded(0)
    days_before: int = bounded(0)
    train_rows: int = bounded(1)
    validation_rows: int = bounded(1)
    test_rows: int = bounded(1)
    click_rate: float = bounded(0, 1, open_low=True, open_high=True)
    start: str = MISSING
    train_days: int = bounded(1)
    utc_offset_hours: float = bounded(-12, 14)
    min_count: dict[str, int] = MISSING


SCHEMAS = {
    "user_behavior": UserBehavior,
    "movielens": MovieLens,
    "taobao_ad": TaobaoAd,
    "taobao_ad_joined": TaobaoAdJoined,
    "event_log": EventLog,
    "synthetic": Synthetic,
}

#: Mappings that are empty by default, so that entries are typed without a + before the key.
FREE = {"event_log": ("list_fields",)}


def register() -> None:
    """Puts the schemas of the group into Hydra's config store."""
    store = ConfigStore.instance().store
    for name, schema in SCHEMAS.items():
        node = OmegaConf.structured(schema)
        for key in FREE.get(name, ()):
            node[key] = {}
            OmegaConf.set_struct(node[key], False)
        store(group="data", name=f"schema_{name}", node=node, replace=True)
