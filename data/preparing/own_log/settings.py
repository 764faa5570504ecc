"""The settings of the source ``event_log``: which go together, and what they mean for fields, cells and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mdaf.data.preparing.layout import MOMENTS, Layout
from mdaf.data.preparing.negatives import check_negatives
from mdaf.data.preparing.next_click import TASKS
from mdaf.data.preparing.own_log.field_names import ROLES, cell_rules, field_names, refuse_label_elsewhere
from mdaf.data.preparing.source import check_held_out, check_shares, refuse_below, refuse_others
from mdaf.data.preparing.splits.rules import BY_USER, GIVEN, LEAVE_ONE_OUT, rule_of
from mdaf.data.reading.formats.delimited import check_header, spelled_out
from mdaf.data.reading.times import check_time_format
from mdaf.data.schema import BUCKETS
from mdaf.data.store.cell_rows import MEAN, METHODS, POOLINGS, MultiValued, Numeric
from mdaf.data.store.vocabulary import check_min_count
from mdaf.errors import DataError

SAMPLE_ROLES = ("user", "item", "category", "time", "label", "split")
HISTORIES = ("positives", "all")
NO_TABLE: Mapping[str, Any] = {"path": None, "beside": None, "key": None, "header": None, "separator": None}
OWNERS = ("item", "user")  # of side tables


@dataclass(frozen=True)
class EventLogSettings:
    """The settings, as ``conf/data/event_log.yaml`` describes them. Raises DataError for some that do not go together.

    The other members say what they mean: the fields of the log, how their cells are read, how rows are split.
    """

    path: str | Sequence[str] | None
    samples_path: str | Sequence[str] | None
    columns: Mapping[str, str | None]
    sample_columns: Mapping[str, str | None]
    user_fields: Sequence[str]
    item_fields: Sequence[str]
    separator: str
    time_format: str
    positive_from: float
    history: str
    task: str
    view: str | None
    purchase: str | None
    length: int
    negatives: int
    utc_offset_hours: float
    validation_start: str | None
    test_start: str | None
    validation_share: float
    test_share: float
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int
    held_out_users: float = 0.0
    numeric_fields: Sequence[str] = field(default_factory=list)
    numeric: str = BUCKETS
    buckets: int = 32
    list_fields: Mapping[str, str] = field(default_factory=dict)
    pooling: str = MEAN
    event_fields: Sequence[str] = field(default_factory=list)
    context_fields: Sequence[str] = field(default_factory=list)
    header: Sequence[str] | None = None
    quotes: bool = True
    item_table: Mapping[str, Any] = field(default_factory=lambda: NO_TABLE)
    user_table: Mapping[str, Any] = field(default_factory=lambda: NO_TABLE)
    splits: str | None = None
    negatives_from: str = "day"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, memory_gb=0, seed=0, buckets=2)
        refuse_others("task", self.task, TASKS)
        refuse_others("history", self.history, HISTORIES)
        refuse_others("numeric", self.numeric, METHODS)
        refuse_others("pooling", self.pooling, POOLINGS)
        self._check_columns()
        check_held_out(self.held_out_users)
        self._check_splits()
        check_negatives(self.negatives_from, self.negatives, self.draws)
        check_time_format(self.time_format)
        spelled_out(self.separator)
        for owner in OWNERS:
            if (separator := self.table_settings(owner)["separator"]) is not None:
                spelled_out(separator, f"data.{owner}_table.separator")
        check_header("data.header", self.header)
        check_min_count(self.counts, self.layout.tables)
        self._check_cells()
        if self.task == "buy" and (self.view is None or self.purchase is None or not self.has("behaviour")):
            raise DataError("data.task=buy needs data.columns.behaviour, data.view and data.purchase")

    @cached_property
    def rule(self) -> str:
        """How rows are split, one of ``splits.rules.RULES``."""
        return rule_of(self.splits, self.held_out_users, self.samples_path is not None)

    @property
    def draws(self) -> bool:
        """Whether negatives are drawn for the log's rows."""
        return self.task == "next_click" and not self.has("label") and self.samples_path is None

    def _check_splits(self) -> None:
        if self.rule != GIVEN and self.validation_start is None:
            check_shares(self.validation_share, self.test_share)
        if (self.validation_start is None) != (self.test_start is None):
            raise DataError("data.validation_start and data.test_start: set both, or none to split by shares")
        if self.rule in (BY_USER, LEAVE_ONE_OUT) and self.validation_start is not None:
            raise DataError(f"data.validation_start: data.splits={self.rule} is not by time; leave the two dates out")

    def _check_columns(self) -> None:
        without = [role for role in ("user", "item", "time") if not self.has(role)]
        for role in without:
            if role not in self.columns:
                raise DataError(f"data.columns.{role} is not set: expected the name of a column, or null for none")
            self._check_without(role)
        unknown = [role for role in self.columns if role not in ROLES]
        if unknown:
            raise DataError(f"data.columns.{unknown[0]}: no such role; roles are {', '.join(ROLES)}")
        unknown = [role for role in self.sample_columns if role not in SAMPLE_ROLES]
        if unknown:
            raise DataError(f"data.sample_columns.{unknown[0]}: no such role; roles are {', '.join(SAMPLE_ROLES)}")
        refuse_label_elsewhere("data.columns", self.columns)
        refuse_label_elsewhere("data.sample_columns", self.sample_columns)

    def _check_without(self, role: str) -> None:
        """Raises DataError if the other settings need a column for the role."""
        null = f"data.columns.{role}=null"
        if self.samples_path is not None:
            raise DataError(f"{null}: a file of samples (data.samples_path) needs the log's users, items and times")
        if role != "time" and not self.has("label"):
            raise DataError(f"{null}: a log without it needs a label for each row; set data.columns.label")
        if role == "user" and (self.held_out_users or self.user_table.get("path")):
            raise DataError(f"{null}: without users there is no data.held_out_users and no data.user_table")
        if role == "user" and self.splits in (BY_USER, LEAVE_ONE_OUT):
            raise DataError(f"{null}: without users there is no data.splits={self.splits}")
        if role == "item" and not any(self.fields.values()):
            raise DataError(f"{null}: expected other fields of a row, in data.context_fields")
        if role == "item" and self.item_table.get("path"):
            raise DataError(f"{null}: without items there is no data.item_table")
        if role == "time" and (self.validation_start is not None or self.task == "buy"):
            raise DataError(f"{null}: without times there is no data.validation_start and no data.task=buy")

    def table_settings(self, owner: str) -> dict[str, Any]:
        """The settings of a side table, with null for those that are not set."""
        typed = {**NO_TABLE, **(self.item_table if owner == "item" else self.user_table)}
        unknown = [key for key in typed if key not in NO_TABLE]
        if unknown:
            raise DataError(f"data.{owner}_table.{unknown[0]}: no such key; keys are {', '.join(NO_TABLE)}")
        check_header(f"data.{owner}_table.header", typed["header"])
        if typed["beside"] is not None and Path(typed["beside"]).name != typed["beside"]:
            raise DataError(
                f"data.{owner}_table.beside={typed['beside']}: expected the name of a file in the log's folder, or an "
                f"ending such as .item; a file elsewhere is data.{owner}_table.path"
            )
        return typed

    @property
    def counts(self) -> dict[str, int]:
        """The minimal counts, without those of users and items that the log does not have."""
        absent = [role for role in ("user", "item") if not self.has(role)]
        return {table: count for table, count in self.min_count.items() if table not in absent}

    def has(self, role: str) -> bool:
        """Whether the log has a column for the role, one of ``ROLES``."""
        return self.columns.get(role) is not None

    def _check_cells(self) -> None:
        if self.context_fields and not self.has("label") and self.samples_path is None:
            raise DataError(
                "data.context_fields: this log has no impressions, whose context they are; set data.columns.label or "
                "data.samples_path, or list them in data.event_fields"
            )
        for name in self.min_count:
            if isinstance(self.cells.get(name), Numeric):
                raise DataError(
                    f"data.min_count.{name}: {name} is a number, and has buckets or one vector; leave it out"
                )

    @cached_property
    def fields(self) -> dict[str, dict[str, str]]:
        """The log's own fields and their columns, for user, item, event and context."""
        listed = {
            "user": self.user_fields,
            "item": self.item_fields,
            "event": self.event_fields,
            "context": self.context_fields,
        }
        return field_names(self.columns, listed)

    @cached_property
    def cells(self) -> dict[str, Numeric | MultiValued]:
        """Field -> how its cells become rows of its table, for numbers and lists."""
        category = {"category": column} if (column := self.columns.get("category")) is not None else {}
        fields = {name: column for own in self.fields.values() for name, column in own.items()}
        return cell_rules(
            {**category, **fields}, self.numeric_fields, self.numeric, self.buckets, self.list_fields, self.pooling
        )

    @cached_property
    def of_user(self) -> tuple[str, ...]:
        """The fields that belong to a user."""
        return tuple(self.fields["user"])

    @cached_property
    def of_item(self) -> tuple[str, ...]:
        """The fields that belong to an item, its category first."""
        category = ("category",) if self.has("category") else ()
        return (*category, *self.fields["item"])

    @cached_property
    def layout(self) -> Layout:
        """Which fields events and samples have."""
        behaviour = ("behaviour",) if self.has("behaviour") else ()
        user, item = (tuple(role for role in (name,) if self.has(role)) for name in ("user", "item"))
        moments = MOMENTS if self.has("time") else ()
        return Layout(
            events=(*item, *self.of_item, *behaviour, *self.fields["event"]),
            static=(*user, *self.of_user, *item, *self.of_item, *self.fields["context"], *moments),
            length=self.length,
            gaps=self.has("time") or not self.has("user"),  # without users there are no events at all
            cells=self.cells,
        )
