"""The vocabularies of an exported model: which id a raw value has in each table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import EventStore
from mdaf.data.store.manifest import VOCABULARY

FOLDER = "vocabularies"


def write_vocabularies(store: EventStore, tables: Iterable[str], folder: Path) -> dict[str, Any]:
    """Writes a Parquet file with the columns value and id for each table that has a vocabulary.

    Values without an id of their own, which are too rare in training, are left out: a caller feeds the unknown id for
    every value that is not in the file. Returns table -> path of its file, relative to ``folder``.
    """
    (folder / FOLDER).mkdir()
    written = {}
    for table in tables:
        values = _values(store, table)
        if values is not None:
            file = f"{FOLDER}/{quote(table, safe='')}.parquet"
            ids = pl.Series("id", np.arange(FIRST_ID, FIRST_ID + len(values), dtype=np.int64))
            pl.DataFrame([values, ids]).write_parquet(folder / file)
            written[table] = file
    return written


def _values(store: EventStore, table: str) -> pl.Series | None:
    """The raw values that have a row in a table, in the order of their ids; None if ids are computed otherwise."""
    if table in store.cell_rows:  # a number has none; of a list they are its members
        listed = getattr(store.cell_rows[table], "values", None)
        return None if listed is None else pl.Series("value", listed, dtype=pl.String)
    if f"{VOCABULARY}.{table}.npy" not in store.manifest["files"]:
        return None
    found = store.vocabulary(table)[: store.schema.tables[table] - FIRST_ID]
    return pl.Series("value", found.tolist(), dtype=pl.String) if found.dtype == object else pl.Series("value", found)
