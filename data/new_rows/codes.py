"""Codes of raw values: those of a store's vocabularies, and temporary ones above them for values that it lacks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.event_store import EventStore
from mdaf.data.store.vocabulary import Vocabulary


class StoreCodes:
    """Encodes raw values by the vocabularies of a store. They are read when they are first needed."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._vocabularies: dict[str, Vocabulary] = {}

    def vocabulary(self, table: str) -> Vocabulary:
        """The vocabulary of a table."""
        if table not in self._vocabularies:
            values = self._store.vocabulary(table)
            text = values.dtype == object or values.dtype.kind in "US"
            series = pl.Series(values.tolist() if text else np.array(values), dtype=pl.String if text else None)
            rows = self._store.schema.tables.get(table, FIRST_ID)
            none = np.zeros(0, dtype=np.int64)
            self._vocabularies[table] = Vocabulary(series, rows, occurrences=none, trained=none)
        return self._vocabularies[table]

    def size(self, table: str) -> int:
        """The number of codes of a table, the reserved ones included."""
        return FIRST_ID + len(self.vocabulary(table).values)


class Codes:
    """The codes of raw values, the same value always having the same code.

    A value that the store lacks gets a code above the store's own. A model reads ``UNKNOWN`` for it, but it can be
    compared: an item that nobody has seen before still equals itself.
    """

    def __init__(self, known: StoreCodes, added: Mapping[str, pl.Series] | None = None) -> None:
        self.known = known
        self.added = dict(added or {})

    def copy(self) -> Codes:
        """These codes, to which values can be added without changing the original."""
        return Codes(self.known, self.added)

    def encode(self, table: str, raw: pl.Series) -> np.ndarray:
        """The codes of raw values, int32; ``UNKNOWN`` for missing ones. Values that have no code yet get one."""
        vocabulary = self.known.vocabulary(table)
        raw = raw.cast(vocabulary.values.dtype, strict=False)
        codes = np.array(vocabulary.encode(raw))
        absent = (codes == UNKNOWN) & raw.is_not_null().to_numpy()
        if absent.any():
            codes[absent] = self._temporary(table, raw.filter(pl.Series(absent)))
        return codes

    def _temporary(self, table: str, raw: pl.Series) -> np.ndarray:
        known = self.added.get(table, raw.clear())
        fresh = raw.unique(maintain_order=True)
        known = pl.concat([known, fresh.filter(~fresh.is_in(known.implode()))])
        self.added[table] = known
        first = self.known.size(table)
        codes = pl.Series(np.arange(first, first + len(known), dtype=np.int32))
        return raw.replace_strict(known, codes, return_dtype=pl.Int32).to_numpy()
