"""New rows as a small store of their own, from which batches are gathered as in training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mdaf.data.new_rows.histories import Events
from mdaf.data.schema import Schema
from mdaf.data.store.cell_rows import Pairs
from mdaf.data.store.event_store import EventStore, Samples

ROWS = "rows"  # the only split


class Candidates(EventStore):
    """Rows to score, (rows,), and the events of their histories.

    ``events``  all that the rows' histories hold.
    ``first``, ``end``  the positions of each row's history among them.
    ``static``  field -> codes.
    ``cells``   table -> the rows that the cells of a numeric or multi-valued field read, by code.
    """

    def __init__(
        self,
        schema: Schema,
        events: Events,
        first: np.ndarray,
        end: np.ndarray,
        time: np.ndarray,
        static: Mapping[str, np.ndarray],
        cells: Mapping[str, Pairs],
    ) -> None:
        self.schema = schema
        self.time = events.time
        self.events = dict(events.codes)
        self._cells = cells
        self._lengths = (end - first).astype(np.int32)
        rows = len(end)
        self.samples = {
            ROWS: Samples(
                user=np.zeros(rows, dtype=np.int32),
                end=end.astype(np.int64),
                time=time,
                label=np.zeros(rows, dtype=np.uint8),
                static=static,
                probability=None,
            )
        }

    def history_lengths(self, split: str) -> np.ndarray:
        """The number of events of each row's history: (rows,) int32."""
        return self._lengths

    def pairs(self, table: str) -> Pairs:
        """As in the store, with the rows of cells that are new here."""
        return self._cells[table]
