"""The source ``event_log``: any log in CSV or Parquet. The config names its columns, so a new data set needs no code.

With a label column each row is an impression, and the task is to predict the click. Without one, each row is an action
of a user, and the task is to tell the next item from negatives. With a second file of samples, exactly its rows are
samples; the history of each is the user's events strictly before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mdaf.data.new_rows.row_format import Cell, Own, RowFormat, When, words
from mdaf.data.preparing.field_names import ROLES, cell_rules, field_names, refuse_label_elsewhere
from mdaf.data.preparing.layout import MOMENTS, Layout, Periods
from mdaf.data.preparing.next_click import PROTOCOL, TASKS, Protocol
from mdaf.data.preparing.own_log import OwnLog
from mdaf.data.preparing.source import (
    Contents,
    check_held_out,
    check_shares,
    refuse_below,
    refuse_others,
    required_file,
    settings_of,
    split_times,
)
from mdaf.data.preparing.spill import GIGABYTE, block_bytes
from mdaf.data.reading.cells import member_list, short_decimal
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.delimited import spelled_out
from mdaf.data.reading.log_table import LogTable
from mdaf.data.reading.times import check_time_format
from mdaf.data.schema import BUCKETS
from mdaf.data.store.cell_rows import MEAN, METHODS, POOLINGS, MultiValued, Numeric
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress

SAMPLE_ROLES = ("user", "item", "category", "time", "label", "split")
HISTORIES = ("positives", "all")
_HOUR = 3600
_READING = 2  # changes with what is read from the same file: a store of another number is prepared anew


@dataclass(frozen=True)
class EventLogFile:
    """The source and its settings. ``conf/data/event_log.yaml`` describes each setting."""

    path: str | None
    samples_path: str | None
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

    name = "event_log"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, memory_gb=0, seed=0, buckets=2)
        refuse_others("task", self.task, TASKS)
        refuse_others("history", self.history, HISTORIES)
        refuse_others("numeric", self.numeric, METHODS)
        refuse_others("pooling", self.pooling, POOLINGS)
        self._check_columns()
        check_held_out(self.held_out_users)
        if self.held_out_users and self.samples_path is not None:
            raise DataError(
                "data.held_out_users: the file of data.samples_path says which rows are the test; set it to 0"
            )
        check_time_format(self.time_format)
        spelled_out(self.separator)
        if self.validation_start is None and self.samples_path is None:
            check_shares(self.validation_share, self.test_share)
        check_min_count(self.min_count, self._layout.tables)
        self._check_cells()
        if (self.validation_start is None) != (self.test_start is None):
            raise DataError("data.validation_start and data.test_start: set both, or none to split by shares")
        if self.task == "buy" and (self.view is None or self.purchase is None or not self._has("behaviour")):
            raise DataError("data.task=buy needs data.columns.behaviour, data.view and data.purchase")

    def _check_columns(self) -> None:
        for role in ("user", "item", "time"):
            if not self._has(role):
                raise DataError(f"data.columns.{role} is not set: expected the name of a column")
        unknown = [role for role in self.columns if role not in ROLES]
        if unknown:
            raise DataError(f"data.columns.{unknown[0]}: no such role; roles are {', '.join(ROLES)}")
        unknown = [role for role in self.sample_columns if role not in SAMPLE_ROLES]
        if unknown:
            raise DataError(f"data.sample_columns.{unknown[0]}: no such role; roles are {', '.join(SAMPLE_ROLES)}")
        refuse_label_elsewhere("data.columns", self.columns)
        refuse_label_elsewhere("data.sample_columns", self.sample_columns)

    def _has(self, role: str) -> bool:
        return self.columns.get(role) is not None

    def _check_cells(self) -> None:
        if self.context_fields and not self._has("label") and self.samples_path is None:
            raise DataError(
                "data.context_fields: this log has no impressions, whose context they are; set data.columns.label or "
                "data.samples_path, or list them in data.event_fields"
            )
        for name in self.min_count:
            if isinstance(self._cells.get(name), Numeric):
                raise DataError(
                    f"data.min_count.{name}: {name} is a number, and has buckets or one vector; leave it out"
                )

    @cached_property
    def _fields(self) -> dict[str, dict[str, str]]:
        """The log's own fields and their columns, for user, item, event and context."""
        listed = {
            "user": self.user_fields,
            "item": self.item_fields,
            "event": self.event_fields,
            "context": self.context_fields,
        }
        return field_names(self.columns, listed)

    @cached_property
    def _cells(self) -> dict[str, Numeric | MultiValued]:
        """Field -> how its cells become rows of its table, for numbers and lists."""
        category = {"category": column} if (column := self.columns.get("category")) is not None else {}
        fields = {name: column for own in self._fields.values() for name, column in own.items()}
        return cell_rules(
            {**category, **fields}, self.numeric_fields, self.numeric, self.buckets, self.list_fields, self.pooling
        )

    @cached_property
    def _of_user(self) -> tuple[str, ...]:
        return tuple(self._fields["user"])

    @cached_property
    def _of_item(self) -> tuple[str, ...]:
        category = ("category",) if self._has("category") else ()
        return (*category, *self._fields["item"])

    @cached_property
    def _layout(self) -> Layout:
        behaviour = ("behaviour",) if self._has("behaviour") else ()
        return Layout(
            events=("item", *self._of_item, *behaviour, *self._fields["event"]),
            static=("user", *self._of_user, "item", *self._of_item, *self._fields["context"], *MOMENTS),
            length=self.length,
            cells=self._cells,
        )

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", "a log, CSV or Parquet")

    @cached_property
    def _sample_file(self) -> Path | None:
        if self.samples_path is None:
            return None
        return required_file(self.samples_path, "data.samples_path", "a file of samples, CSV or Parquet")

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the hashes of the files."""
        files = [self._file, *([self._sample_file] if self._sample_file else [])]
        drawn = {} if self._has("label") or self._sample_file else {"protocol": PROTOCOL}
        return {"settings": settings_of(self), "inputs": hashes.of(files), "reading": _READING, **drawn}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        dated = self.validation_start is not None and self.test_start is not None
        validation, test = split_times(self, "validation_start", "test_start") if dated else (0, 0)
        protocol = Protocol(
            task=self.task,
            periods=Periods(0, 0, self.utc_offset_hours),
            negatives=self.negatives,
            view=self.view,
            purchase=self.purchase,
            min_count=self.min_count,
            seed=self.seed,
        )
        said = self._has("category") and self.sample_columns.get("category") is not None
        return OwnLog(
            path=str(self.path),
            samples_path=str(self.samples_path),
            table=self._table(),
            samples=None if self._sample_file is None else self._given_table(),
            layout=self._layout,
            user_fields=self._of_user,
            item_fields=self._of_item,
            labelled=self._has("label"),
            said=("category",) if said else (),
            every_row=self.history == "all",
            dates=(validation, test) if dated else None,
            shares=(self.validation_share, self.test_share),
            held_out_users=self.held_out_users,
            protocol=protocol,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            min_count=self.min_count,
            max_bad_fraction=self.max_bad_fraction,
            memory_gb=self.memory_gb,
        ).build(writer, progress)

    def new_rows(self) -> RowFormat:
        """Rows as in the log, or as in the file of samples where there is one; without a label."""
        given, labelled = self.samples_path is not None, self._has("label")
        roles = self.sample_columns if given else self.columns
        said = {"category"} if given and roles.get("category") is not None else set()
        settled: When = "before" if given else "day" if self.task == "next_click" else "at"
        of_item: When = "latest" if labelled and not given else settled
        of_user: When = "latest" if labelled and not given else "before" if given else "at"
        own = {name: Own("item", "latest" if name in said else of_item) for name in self._of_item}
        own |= {name: Own("user", of_user) for name in self._of_user}
        in_events = {name: Own("item", "latest" if own[name].when == "latest" else "at") for name in self._of_item}

        def columns(roles: Mapping[str, str | None], *names: str) -> dict[str, str]:
            return {name: column for name in names if (column := roles.get(name)) is not None}

        whose = ("user", "item", "time", *(["category"] if self._has("category") else []))
        of_rows = {
            name: column for owner in ("user", "item", "context") for name, column in self._fields[owner].items()
        }
        of_events = {**self._fields["item"], **self._fields["event"]}
        return RowFormat(
            rows=self._new_cells({**columns(roles, *whose), **of_rows}, own),
            events=self._new_cells({**columns(self.columns, *whose, "behaviour"), **of_events}, in_events),
            own=own,
            event_own=in_events,
            utc_offset_hours=self.utc_offset_hours,
            time_format=self.time_format,
            label=self.columns.get("label") if labelled and not given and self.history == "positives" else None,
            positive_from=self.positive_from,
            unique=not labelled and not given,
            separator=self.separator,
        )

    def _new_cells(self, columns: Mapping[str, str], optional: Collection[str]) -> dict[str, Cell]:
        """Cells in these ``columns``, field -> column; those of the ``optional`` fields may be absent."""
        cells = words(columns, optional)
        for name, rule in self._cells.items():
            if name in cells:
                typed = short_decimal(name) if isinstance(rule, Numeric) else member_list(name, rule.separator)
                cells[name] = replace(cells[name], typed=typed)
        return cells

    def _table(self) -> LogTable:
        """The log. Its rows have the columns of the roles and of the fields."""
        roles = {role: column for role in ROLES if (column := self.columns.get(role)) is not None}
        if self._sample_file is not None:
            roles.pop("label", None)
        own = dict(self._fields)
        if self._sample_file is not None:
            del own["context"]
        fields = {name: column for columns in own.values() for name, column in columns.items()}
        return self._table_of(self._file, {**roles, **fields}, "data.columns")

    def _given_table(self) -> LogTable:
        """The file of samples."""
        assert self._sample_file is not None
        roles = {role: column for role in SAMPLE_ROLES if (column := self.sample_columns.get(role)) is not None}
        absent = [role for role in SAMPLE_ROLES if role not in roles and role != "category"]
        if absent:
            raise DataError(f"data.sample_columns.{absent[0]} is not set: expected the name of a column")
        if not self._has("category"):
            roles.pop("category", None)
        return self._table_of(self._sample_file, {**roles, **self._fields["context"]}, "data.sample_columns")

    def _table_of(self, path: Path, columns: Mapping[str, str], key: str) -> LogTable:
        return LogTable(
            path,
            columns,
            key,
            separator=self.separator,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            positive_from=self.positive_from,
            block_bytes=block_bytes(self.memory_gb),
            row_group_bytes=max(int(self.memory_gb * GIGABYTE / 2), 1 << 24),
            numbers=[name for name, rule in self._cells.items() if isinstance(rule, Numeric)],
            lists={name: rule.separator for name, rule in self._cells.items() if isinstance(rule, MultiValued)},
        )
