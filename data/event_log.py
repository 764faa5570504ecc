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
from mdaf.data.preparing.layout import MOMENTS, Layout
from mdaf.data.preparing.negatives import check_negatives
from mdaf.data.preparing.next_click import PROTOCOL, TASKS, Protocol
from mdaf.data.preparing.own_log import OwnLog
from mdaf.data.preparing.side_tables import SideTable
from mdaf.data.preparing.source import (
    Contents,
    check_held_out,
    check_shares,
    refuse_below,
    refuse_others,
    settings_of,
    split_times,
)
from mdaf.data.preparing.spill import GIGABYTE, block_bytes
from mdaf.data.preparing.splits import BY_USER, GIVEN, LEAVE_ONE_OUT, rule_of
from mdaf.data.reading.cells import member_list, short_decimal
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.by_ending import Spelling, table_file
from mdaf.data.reading.formats.delimited import check_header, spelled_out
from mdaf.data.reading.log_files import beside, named, required_files
from mdaf.data.reading.log_table import CellKinds, LogTable
from mdaf.data.reading.times import check_time_format
from mdaf.data.schema import BUCKETS
from mdaf.data.store.cell_rows import MEAN, METHODS, POOLINGS, MultiValued, Numeric
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress

SAMPLE_ROLES = ("user", "item", "category", "time", "label", "split")
HISTORIES = ("positives", "all")
NO_TABLE: Mapping[str, Any] = {"path": None, "beside": None, "key": None, "header": None, "separator": None}
OWNERS = ("item", "user")  # of side tables
_READING = 2  # changes with what is read from the same file: a store of another number is prepared anew


@dataclass(frozen=True)
class EventLogFile:
    """The source and its settings. ``conf/data/event_log.yaml`` describes each setting."""

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

    name = "event_log"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, memory_gb=0, seed=0, buckets=2)
        refuse_others("task", self.task, TASKS)
        refuse_others("history", self.history, HISTORIES)
        refuse_others("numeric", self.numeric, METHODS)
        refuse_others("pooling", self.pooling, POOLINGS)
        self._check_columns()
        check_held_out(self.held_out_users)
        self._check_splits()
        check_negatives(self.negatives_from, self.negatives, self._draws)
        check_time_format(self.time_format)
        for separator in (self.separator, *(self._table_settings(owner)["separator"] for owner in OWNERS)):
            spelled_out(self.separator if separator is None else separator)
        check_header("data.header", self.header)
        check_min_count(self._min_count, self._layout.tables)
        self._check_cells()
        if self.task == "buy" and (self.view is None or self.purchase is None or not self._has("behaviour")):
            raise DataError("data.task=buy needs data.columns.behaviour, data.view and data.purchase")

    @cached_property
    def _rule(self) -> str:
        return rule_of(self.splits, self.held_out_users, self.samples_path is not None)

    @property
    def _draws(self) -> bool:
        """Whether negatives are drawn for the log's rows."""
        return self.task == "next_click" and not self._has("label") and self.samples_path is None

    def _check_splits(self) -> None:
        if self._rule != GIVEN and self.validation_start is None:
            check_shares(self.validation_share, self.test_share)
        if (self.validation_start is None) != (self.test_start is None):
            raise DataError("data.validation_start and data.test_start: set both, or none to split by shares")
        if self._rule in (BY_USER, LEAVE_ONE_OUT) and self.validation_start is not None:
            raise DataError(f"data.validation_start: data.splits={self._rule} is not by time; leave the two dates out")

    def _check_columns(self) -> None:
        without = [role for role in ("user", "item", "time") if not self._has(role)]
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
        if role != "time" and not self._has("label"):
            raise DataError(f"{null}: a log without it needs a label for each row; set data.columns.label")
        if role == "user" and (self.held_out_users or self.user_table.get("path")):
            raise DataError(f"{null}: without users there is no data.held_out_users and no data.user_table")
        if role == "user" and self.splits in (BY_USER, LEAVE_ONE_OUT):
            raise DataError(f"{null}: without users there is no data.splits={self.splits}")
        if role == "item" and not any(self._fields.values()):
            raise DataError(f"{null}: expected other fields of a row, in data.context_fields")
        if role == "item" and self.item_table.get("path"):
            raise DataError(f"{null}: without items there is no data.item_table")
        if role == "time" and (self.validation_start is not None or self.task == "buy"):
            raise DataError(f"{null}: without times there is no data.validation_start and no data.task=buy")

    def _table_settings(self, owner: str) -> dict[str, Any]:
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
    def _min_count(self) -> dict[str, int]:
        """The minimal counts, without those of users and items that the log does not have."""
        absent = [role for role in ("user", "item") if not self._has(role)]
        return {table: count for table, count in self.min_count.items() if table not in absent}

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
        user, item = (tuple(role for role in (name,) if self._has(role)) for name in ("user", "item"))
        moments = MOMENTS if self._has("time") else ()
        return Layout(
            events=(*item, *self._of_item, *behaviour, *self._fields["event"]),
            static=(*user, *self._of_user, *item, *self._of_item, *self._fields["context"], *moments),
            length=self.length,
            gaps=self._has("time") or not self._has("user"),  # without users there are no events at all
            cells=self._cells,
        )

    @cached_property
    def _files(self) -> list[Path]:
        return required_files(self.path, "data.path", "a log, CSV, JSON lines or Parquet")

    @cached_property
    def _sample_files(self) -> list[Path]:
        if self.samples_path is None:
            return []
        return required_files(self.samples_path, "data.samples_path", "a file of samples, CSV, JSON lines or Parquet")

    @cached_property
    def _side_tables(self) -> list[SideTable]:
        """The side tables that have some of the fields."""
        found = (self._side_table(owner) for owner in OWNERS if self._has(owner))
        return [table for table in found if table is not None]

    def _side_table(self, owner: str) -> SideTable | None:
        typed, key = self._table_settings(owner), f"data.{owner}_table"
        if typed["path"] is not None:
            paths = required_files(typed["path"], f"{key}.path", f"a table of {owner}s, CSV, JSON lines or Parquet")
        elif typed["beside"] is not None and (file := beside(self._files[0], typed["beside"])).is_file():
            paths = [file]
        else:
            return None
        spelling = replace(
            self._spelling,
            separator=self.separator if typed["separator"] is None else typed["separator"],
            header=typed["header"],
        )
        wanted = self._columns_of(owner)
        fields = {name: column for name, column in wanted.items() if table_file(paths[0], (), "", spelling).has(column)}
        if not fields and typed["path"] is None:
            return None
        if not fields:
            listed = ", ".join(wanted.values()) or "none"
            raise DataError(
                f"{key}.path={named(typed['path'])} has none of the columns in data.{owner}_fields ({listed}); name "
                "some of its columns there"
            )
        column = str(typed["key"] or self.columns[owner])
        return SideTable(
            owner, paths, column, fields, spelling, block_bytes(self.memory_gb), self.max_bad_fraction, self._cell_kinds
        )  # fmt: skip

    def _columns_of(self, owner: str) -> dict[str, str]:
        """The fields of items or users, and their columns."""
        fields = self._of_item if owner == "item" else self._of_user
        listed = self._fields[owner]
        return {name: str(self.columns["category"] if name == "category" else listed[name]) for name in fields}

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the hashes of the files."""
        tables = {table.owner: table for table in self._side_tables}
        files = [*self._files, *self._sample_files, *(path for table in tables.values() for path in table.paths)]
        drawn = {} if self._has("label") or self._sample_files else {"protocol": PROTOCOL}
        counts = {"log": len(self._files), "samples": len(self._sample_files)}
        several = {"files": counts} if max(counts.values()) > 1 or tables else {}
        described = {
            f"{owner}_table": {
                "files": len(table.paths),
                "key": table.column,
                "fields": dict(table.fields),
                "header": table.spelling.header and list(table.spelling.header),
                "separator": table.spelling.separator,
            }
            for owner, table in tables.items()
        }
        settings = settings_of(self, "item_table", "user_table")
        return {"settings": settings, "inputs": hashes.of(files), "reading": _READING, **several, **described, **drawn}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the files and writes their store. Raises DataError for another format and for too many bad rows."""
        dated = self.validation_start is not None and self.test_start is not None
        validation, test = split_times(self, "validation_start", "test_start") if dated else (0, 0)
        protocol = Protocol(
            task=self.task,
            negatives=self.negatives,
            negatives_from=self.negatives_from,
            view=self.view,
            purchase=self.purchase,
            min_count=self._min_count,
            seed=self.seed,
        )
        said = self._has("category") and self.sample_columns.get("category") is not None
        return OwnLog(
            path=named(self.path),
            samples_path=named(self.samples_path),
            table=self._table(),
            samples=self._given_table() if self._sample_files else None,
            side_tables=self._side_tables,
            layout=self._layout,
            user_fields=self._of_user,
            item_fields=self._of_item,
            timed=self._has("time"),
            anonymous=not self._has("user"),
            labelled=self._has("label"),
            said=("category",) if said else (),
            every_row=self.history == "all",
            rule=self._rule,
            dates=(validation, test) if dated else None,
            shares=(self.validation_share, self.test_share),
            held_out_users=self.held_out_users,
            protocol=protocol,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            min_count=self._min_count,
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
            between=self._spelling.between,
            headers=[] if given or self.header is None else self._new_headers(self.header),
        )

    def _new_headers(self, header: Sequence[str]) -> list[list[str]]:
        """The columns of new rows without a header: those of the log, with its label or without."""
        label = self.columns.get("label")
        return [list(header), [name for name in header if name != label]]

    def _new_cells(self, columns: Mapping[str, str], optional: Collection[str]) -> dict[str, Cell]:
        """Cells in these ``columns``, field -> column; those of the ``optional`` fields may be absent."""
        cells = words(columns, optional)
        for name, rule in self._cells.items():
            if name in cells:
                typed = short_decimal(name) if isinstance(rule, Numeric) else member_list(name, rule.separator)
                cells[name] = replace(cells[name], typed=typed)
        return cells

    def _table(self) -> LogTable:
        """The log. Its rows have the columns of the roles and of the fields, but for those of side tables."""
        roles = {role: column for role in ROLES if (column := self.columns.get(role)) is not None}
        if self._sample_files:
            roles.pop("label", None)
        own = dict(self._fields)
        if self._sample_files:
            del own["context"]
        fields = {name: column for columns in own.values() for name, column in columns.items()}
        told = {name for table in self._side_tables for name in table.fields}
        columns = {name: column for name, column in {**roles, **fields}.items() if name not in told}
        return self._table_of(self._files, columns, "data.columns", self._spelling)

    def _given_table(self) -> LogTable:
        """The files of samples."""
        roles = {role: column for role in SAMPLE_ROLES if (column := self.sample_columns.get(role)) is not None}
        absent = [role for role in SAMPLE_ROLES if role not in roles and role != "category"]
        if absent:
            raise DataError(f"data.sample_columns.{absent[0]} is not set: expected the name of a column")
        if not self._has("category"):
            roles.pop("category", None)
        columns = {**roles, **self._fields["context"]}
        return self._table_of(self._sample_files, columns, "data.sample_columns", replace(self._spelling, header=None))

    @property
    def _spelling(self) -> Spelling:
        row_group = max(int(self.memory_gb * GIGABYTE / 2), 1 << 24)
        lists = {column: spelled_out(typed, f"data.list_fields.{column}") for column, typed in self.list_fields.items()}
        return Spelling(self.separator, self.header, self.quotes, row_group, lists)

    @property
    def _cell_kinds(self) -> CellKinds:
        return CellKinds(
            numbers=[name for name, rule in self._cells.items() if isinstance(rule, Numeric)],
            lists={name: rule.separator for name, rule in self._cells.items() if isinstance(rule, MultiValued)},
        )

    def _table_of(self, paths: Sequence[Path], columns: Mapping[str, str], key: str, spelling: Spelling) -> LogTable:
        return LogTable(
            paths,
            columns,
            key,
            spelling,
            time_format=self.time_format,
            utc_offset_hours=self.utc_offset_hours,
            positive_from=self.positive_from,
            block_bytes=block_bytes(self.memory_gb),
            cells=self._cell_kinds,
        )
