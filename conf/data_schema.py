"""Types and bounds of the ``data`` group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from mdaf.conf.schema import bounded, positive


@dataclass
class Common:
    """What every data set has.

    ``_target_``        Class of the source.
    ``root``            Folder of the prepared stores.
    ``memory_gb``       Memory in GB that preparing may take, whatever the size of the log; vocabularies come on top.
    ``bucketing``       Sorts samples by history length within this many batches, which saves padding; 0: plain shuffle.
    ``history_order``   Order of a history's events: by `time`, or `shuffled` to measure what the order is worth.
    ``decided_labels``  What happens when one field alone decides the label: `refuse` the data, or `warn`.
    ``seed``            Seed of what is drawn while preparing: negatives, simulated logs.
    ``length``          Greatest number of events in a history.
    """

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
    """Raw rows in files.

    ``path``              The raw file or folder.
    ``min_count``         Occurrences in training that an id of each field needs for an embedding row of its own; rarer
                          ids share one.
    ``max_bad_fraction``  A file with a larger share of bad rows is refused.
    """

    path: str | None = MISSING
    min_count: dict[str, int] = MISSING
    max_bad_fraction: float = bounded(0, 1)


@dataclass
class Log(Table):
    """Raw rows with times.

    ``utc_offset_hours``  Offset of local time from UTC in hours; days and hours are local.
    """

    utc_offset_hours: float = bounded(-12, 14)


@dataclass
class UserBehavior(Log):
    """Taobao's UserBehavior.csv.

    ``held_out_users``    Share of users, chosen by a hash, whose rows are the test split and nothing else; 0: all users
                          are in all splits.
    ``splits``            How rows are split: by `time`, by `user` or `leave_one_out`; null: by time.
    ``validation_share``  Share of users in validation with `splits=user`; null: 0.1.
    ``test_share``        Share of users in the test split with `splits=user`; null: 0.1.
    ``task``              `next_click`: will the user view this item next; `buy`: does the user buy the viewed item that
                          day.
    ``negatives``         Negatives drawn for each positive of `next_click`; never the viewed item itself.
    ``negatives_from``    Where negatives come from: the popularity of that `day`, the user's `history`, or half of each
                          (`mixed`).
    ``period_start``      First local date that counts; earlier rows are bad rows.
    ``period_end``        First local date that no longer counts.
    ``validation_start``  Local date at which validation begins with splits by time.
    ``test_start``        Local date at which the test split begins with splits by time.
    """

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
    """MovieLens in atomic files.

    ``held_out_users``    Share of users, chosen by a hash, whose rows are the test split and nothing else; 0: all users
                          are in all splits.
    ``splits``            How rows are split: by `time`, by `user` or `leave_one_out`; null: by time.
    ``validation_share``  Share of users in validation with `splits=user`; null: 0.1.
    ``test_share``        Share of users in the test split with `splits=user`; null: 0.1.
    ``click_rating``      Lowest rating that counts as a click.
    ``genres``            An item's category is its list of genres (`one`), or the mean of its genres' vectors (`many`).
    ``age``               A user's age is a bucket of ten years, or a number that scales a vector.
    ``validation_start``  Local date at which validation begins with splits by time.
    ``test_start``        Local date at which the test split begins with splits by time.
    """

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
    """Ali Display Ad Click from its raw files.

    ``behaviour_start``   Behaviours before this local date are bad rows.
    ``period_start``      Impressions before this local date are bad rows.
    ``test_start``        The local date whose impressions are validation and test (day 8).
    ``period_end``        First local date that no longer counts.
    ``price``             How a price becomes input: two buckets for each doubling, buckets by quantiles, or a vector
                          times the number.
    ``validation_share``  Share of day 8's users who are validation; the others are the test.
    """

    behaviour_start: str = MISSING
    period_start: str = MISSING
    test_start: str = MISSING
    period_end: str = MISSING
    price: Literal["doublings", "buckets", "vector"] = MISSING
    validation_share: float = bounded(0, 1, open_low=True, open_high=True)


@dataclass
class TaobaoAdJoined(Table):
    """Ali Display Ad Click, already joined.

    ``price``             How a price becomes input: two buckets for each doubling, buckets by quantiles, or a vector
                          times the number.
    ``validation_share``  Share of users in validation.
    ``test_share``        Share of users in the test split.
    """

    price: Literal["doublings", "buckets", "vector"] = MISSING
    validation_share: float = bounded(0, 1, open_low=True, open_high=True)
    test_share: float = bounded(0, 1, open_low=True, open_high=True)


@dataclass
class SideTable:
    """A table that describes items or users.

    ``path``       The table's file, or a list of files; null: there is no table, or `beside` names it.
    ``beside``     Its name, or its ending, in the log's folder, such as `.item`.
    ``key``        Column of the ids; null: named as in the log.
    ``header``     Names of its columns if it has no header line.
    ``separator``  Its separator; null: the log's.
    """

    path: Any = MISSING
    beside: str | None = MISSING
    key: str | None = MISSING
    header: list[str] | None = MISSING
    separator: str | None = MISSING


@dataclass
class EventLog(Log):
    """Anyone's own log: CSV, JSON lines or Parquet.

    ``path``              The log: a file, a folder, a pattern such as `logs/*.csv`, or a list.
    ``held_out_users``    Share of users, chosen by a hash, whose rows are the test split and nothing else; 0: all users
                          are in all splits.
    ``samples_path``      A file with the rows to train on and to score; histories come from the log. null: the log's
                          rows.
    ``header``            Names of the columns of a file without a header line.
    ``quotes``            Whether text may stand in double quotes.
    ``columns``           Names of the log's columns for user, item, time, category, behaviour and label; null: the log
                          has none.
    ``sample_columns``    Names of the columns of `samples_path`.
    ``user_fields``       Further columns that describe the user, such as `[age, city]`.
    ``item_fields``       Further columns that describe the item, such as `[brand, price]`.
    ``event_fields``      Columns that say how an event went, such as `[dwell_seconds]`; they are in histories only.
    ``context_fields``    Columns that describe an impression, such as `[banner_position]`; they are in samples only.
    ``numeric_fields``    Which of these columns are numbers.
    ``numeric``           A number becomes one of `buckets`, or a standardized value times a vector (`vector`).
    ``buckets``           Number of buckets of a numeric field, with equally many training rows in each.
    ``list_fields``       Which of these columns hold several values, and their separator: `{genres: "|"}`.
    ``pooling``           How the vectors of several values become one.
    ``separator``         Separator of a text file, such as `,`, `\\t` or `::`.
    ``time_format``       `seconds` since 1970 (or milli-, micro-, nanoseconds), or a pattern such as `%Y-%m-%d
                          %H:%M:%S`.
    ``positive_from``     A row is a click when its label is at least this number.
    ``history``           Which rows of a log with labels are events of a history: `positives`, or `all`.
    ``task``              For a log without labels: `next_click` or `buy`.
    ``view``              For a log without labels: the behaviour that means an item was viewed; null: every behaviour
                          does.
    ``purchase``          For the task `buy`: the behaviour to predict.
    ``negatives``         Negatives drawn for each positive of `next_click`.
    ``negatives_from``    Where negatives come from: the popularity of that `day`, the user's `history`, or half of each
                          (`mixed`).
    ``splits``            How rows are split: `time`, `user`, `leave_one_out` or `given` (a column of `samples_path`);
                          null: given or time.
    ``validation_start``  Local date or time at which validation begins with splits by time; null: the shares decide.
    ``test_start``        Local date or time at which the test split begins with splits by time; null: the shares
                          decide.
    ``validation_share``  Share of rows (by time) or of users in validation.
    ``test_share``        Share of rows (by time) or of users in the test split.
    """

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
    """A made-up click log.

    ``held_out_users``    Share of users, chosen by a hash, whose rows are the test split and nothing else; 0: all users
                          are in all splits.
    ``users``             Number of users.
    ``items``             Number of items.
    ``categories``        Number of categories.
    ``views``             Number of events from browsing; each click adds one.
    ``views_before``      Events of each user in the days before training begins.
    ``days_before``       Number of days before training begins that have events.
    ``train_rows``        Number of training impressions.
    ``validation_rows``   Number of validation impressions, on the day after training.
    ``test_rows``         Number of test impressions, on the day after validation.
    ``click_rate``        Share of impressions that are clicked.
    ``start``             Local date of training's first day.
    ``train_days``        Number of training days.
    ``utc_offset_hours``  Offset of local time from UTC in hours.
    ``min_count``         Occurrences in training that an id of each field needs for an embedding row of its own; rarer
                          ids share one.
    """

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
