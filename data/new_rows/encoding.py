"""From raw rows to candidates: codes by the rules of preparing, and histories from the store or from given events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from mdaf.data.new_rows.candidates import Candidates
from mdaf.data.new_rows.codes import Codes, StoreCodes
from mdaf.data.new_rows.histories import Events
from mdaf.data.new_rows.known_fields import KnownFields
from mdaf.data.new_rows.row_format import TIME, Own, RowFormat
from mdaf.data.preparing.layout import MOMENTS, moments
from mdaf.data.reading.local_time import FARTHEST
from mdaf.data.schema import UNKNOWN
from mdaf.data.store.cell_rows import Pairs
from mdaf.data.store.event_store import GAP_FIELD, USER_TABLE, EventStore


class RowEncoder:
    """Encodes new rows as the store's own samples were encoded.

    ``given``  events from which the histories come, typed, in blocks; None: the events of the store.
    """

    def __init__(self, store: EventStore, form: RowFormat, given: Iterable[pl.DataFrame] | None = None) -> None:
        self._store = store
        self._form = form
        self._codes = Codes(StoreCodes(store))
        self._known = KnownFields(store, form.utc_offset_hours)
        self._pairs_of_store: dict[str, Pairs] = {}
        self._moments = moments(form.utc_offset_hours)
        self._stored = [field.name for field in store.schema.sequence if field.name != GAP_FIELD]
        self._events = self._own_events() if given is None else self._given_events(given)

    def candidates(self, rows: pl.DataFrame) -> tuple[Candidates, np.ndarray]:
        """The rows as a store, and the position in ``rows`` of each of its samples.

        Samples are sorted by user, as in a prepared store, then by time and by their place in ``rows``: rows of one
        split then make the same batches as in evaluation, and get the same scores to the digit.

        ``rows``  typed, with the format's fields that the file has.
        """
        codes = self._codes.copy()
        lists = self._form.lists
        time = rows[TIME].to_numpy() if TIME in rows.columns else np.full(len(rows), FARTHEST)
        static = self._fields(codes, rows, [field.name for field in self._store.schema.static], self._form.own, time)
        if lists:
            order = np.arange(len(rows))
            events, first, end = self._listed(codes, rows)
        else:
            user = (
                codes.encode(USER_TABLE, rows[USER_TABLE])
                if USER_TABLE in rows.columns
                else np.zeros(len(rows), np.int32)
            )
            order = np.lexsort((time, np.where(user == UNKNOWN, np.iinfo(np.int32).max, user)))
            first, end = self._events.before(user[order], time[order], self._store.schema.length)
            events, shift = self._events.around(first, end)
            first, end = first + shift, end + shift
        schema, static = self._store.schema, {name: held[order] for name, held in static.items()}
        cells = {table: self._pairs(table, codes) for table in schema.cells}
        return Candidates(schema, events, first, end, time[order], static, cells), order

    def _fields(
        self, codes: Codes, rows: pl.DataFrame, names: Sequence[str], own: Mapping[str, Own], time: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The codes of some fields of rows. What belongs to an owner may come from the store."""
        found: dict[str, np.ndarray] = {}
        hours = rows.select(self._moments) if TIME in rows.columns else None
        for name in sorted(names, key=lambda name: name in own):  # owners first
            if name in MOMENTS and name not in rows.columns and hours is not None:
                found[name] = codes.encode(name, hours[name])
                continue
            said = codes.encode(name, rows[name]) if name in rows.columns else None
            if name in own:
                owner = own[name].owner
                owners = found[owner] if owner in found else codes.encode(owner, rows[owner])
                found[name] = self._of_owner(name, own[name], owners, time, said)
            else:
                assert said is not None, name
                found[name] = said
        return {name: found[name] for name in names}

    def _of_owner(
        self, name: str, own: Own, owners: np.ndarray, time: np.ndarray, said: np.ndarray | None
    ) -> np.ndarray:
        """The codes of an owner's field: what the store knows, or what the rows say; ``own`` says which goes first."""
        if said is not None and own.when == "latest":
            return said
        known = self._known.codes(name, own, owners, time)
        if said is None:
            return known
        one, other = (known, said) if own.settled else (said, known)
        return np.where(one != UNKNOWN, one, other)

    def _pairs(self, table: str, codes: Codes) -> Pairs:
        """The rows that cells read, by their codes: those of the store, and above them those that are new."""
        if table not in self._pairs_of_store:
            self._pairs_of_store[table] = self._store.pairs(table)
        known = self._pairs_of_store[table]
        if table not in codes.added:
            return known
        fresh = self._store.cell_rows[table].encode(codes.added[table])
        width = max(known.ids.shape[1], fresh.ids.shape[1])

        def joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
            return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (one, other)])

        return Pairs(joined(known.ids, fresh.ids), joined(known.weights, fresh.weights))

    def _own_events(self) -> Events:
        if USER_TABLE not in self._form.rows or self._form.lists:
            return Events(np.zeros(0, np.int64), {}, np.zeros(1, np.int64))
        return Events.of_store(self._store)

    def _given_events(self, given: Iterable[pl.DataFrame]) -> Events:
        parts = [pl.DataFrame(schema={"user": pl.Int32, TIME: pl.Int64, **dict.fromkeys(self._stored, pl.Int32)})]
        read = 0
        for rows in given:
            # Events without times are in their order, as in a log without them.
            time = rows[TIME].to_numpy() if TIME in rows.columns else np.arange(read, read + len(rows))
            read += len(rows)
            fields = self._fields(self._codes, rows, self._stored, self._form.event_own, time)
            parts.append(pl.DataFrame({"user": self._codes.encode(USER_TABLE, rows[USER_TABLE]), TIME: time, **fields}))
        users = self._codes.known.size(USER_TABLE) + len(self._codes.added.get(USER_TABLE, ()))
        return Events.sorted_from(pl.concat(parts), self._stored, users, self._form.unique)

    def _listed(self, codes: Codes, rows: pl.DataFrame) -> tuple[Events, np.ndarray, np.ndarray]:
        """The events that the rows list, oldest first, and the positions of each row's history."""
        length = self._store.schema.length
        lists = {name: rows[of].list.tail(length) for name, of in self._form.lists.items()}
        counts = next(iter(lists.values())).list.len().fill_null(0).to_numpy().astype(np.int64)
        end = np.cumsum(counts)
        listed = {name: values.filter(values.list.len() > 0).explode() for name, values in lists.items()}
        held = {name: codes.encode(name, values) for name, values in listed.items()}
        return Events(np.zeros(int(counts.sum()), np.int64), held, np.array([0, int(counts.sum())])), end - counts, end
