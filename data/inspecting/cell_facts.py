"""Sentences about the numeric and multi-valued fields of a store."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.arrays import read_parts
from mdaf.data.store.cell_rows import Buckets, CellRows, Members, Vector
from mdaf.data.store.event_store import EventStore, count_codes
from mdaf.terminal.printable import in_a_line

_MOST = 8  # edges or values that are named


def cell_facts(store: EventStore) -> list[str]:
    """A sentence about each numeric or multi-valued field: what it is, and how often it is missing.

    Shares are of training samples, or of all events for a field that only events have.
    """
    facts = []
    for table, rows in store.cell_rows.items():
        static = [field.name for field in store.schema.static if field.table == table]
        codes = store.samples["train"].static[static[0]] if static else store.events[table]
        counts = count_codes(read_parts(codes), FIRST_ID + store.vocabulary_size(table))
        share, where = counts[UNKNOWN] / max(1, counts.sum()), "training samples" if static else "events"
        members = store.pairs(table).ids
        facts.append(f"{in_a_line(table)}: {_described(rows, members, counts)}; missing in {share:.2%} of {where}")
    return facts


def _described(rows: CellRows, members: np.ndarray, counts: np.ndarray) -> str:
    """``members``: the rows of each code, (codes, member). ``counts``: how often each code occurs."""
    if isinstance(rows, Buckets):
        return f"a number in {len(rows.edges) + 1} buckets, with edges {_some(f'{edge:g}' for edge in rows.edges)}"
    if isinstance(rows, Vector):
        return f"a number times a vector, with mean {rows.mean:.4g} and standard deviation {rows.std:.4g}"
    assert isinstance(rows, Members)
    known = (members >= FIRST_ID).sum(axis=1)
    given = counts.copy()
    given[:FIRST_ID] = 0
    mean = (known * given).sum() / max(1, given.sum())
    return (
        f"a list of {mean:.1f} of {len(rows.values):,} values on average, {known.max(initial=0)} at most "
        f"({_some(map(in_a_line, rows.values))}), as their vectors' {rows.pooling}"
    )


def _some(names: Iterable[str]) -> str:
    every = list(names)
    if len(every) > _MOST:
        every = [*every[: _MOST // 2], "...", *every[-_MOST // 2 :]]
    return ", ".join(every) or "none"
