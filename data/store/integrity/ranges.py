"""Checks that codes and positions in a store are in range: codes of vocabularies, positions of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdaf.data.schema import FIRST_ID, PADDING, UNKNOWN
from mdaf.data.store.arrays import parts_of, read_part, read_parts
from mdaf.data.store.manifest import CELL_IDS, CELL_WEIGHTS, REMEDY
from mdaf.errors import DamagedStoreError

if TYPE_CHECKING:
    from mdaf.data.store.event_store import EventStore


def check_ranges(store: EventStore) -> None:
    """DamagedStoreError if a code is not in its vocabulary, or a position is outside of its user's events.

    Such a value would read past the end of an array, or train the wrong row of an embedding table.
    """
    _check_offsets(store)
    _check_training_ends(store)
    for field in store.schema.sequence:
        if field.name in store.events:
            _check_codes(store, f"events.{field.name}", store.events[field.name], field.table)
    for table in store.schema.cells:
        ids, weights = store.pairs(table)
        _check_span(store, f"{CELL_IDS}.{table}", ids.reshape(-1), PADDING, store.schema.tables[table] - 1)
        _check_span(store, f"{CELL_WEIGHTS}.{table}", weights.reshape(-1), -np.inf, np.inf)
    for split, samples in store.samples.items():
        for field in store.schema.static:
            _check_codes(store, f"{split}.static.{field.name}", samples.static[field.name], field.table)
        _check_positions(store, split)
        _check_span(store, f"{split}.label", samples.label, 0, 1)
        if samples.probability is not None:
            _check_span(store, f"{split}.probability", samples.probability, 0, 1)


def _check_offsets(store: EventStore) -> None:
    offsets = store.user_offsets
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(store.time) or (np.diff(offsets) < 0).any():
        raise _out_of_range(store, "user_offsets", f"no ascending positions from 0 to {len(store.time):,}")
    if len(store.users_of) != store.users or store.users_of.min(initial=0) < 0:
        raise _out_of_range(store, "users_of", "no user for each history")


def _check_training_ends(store: EventStore) -> None:
    ends, offsets = store.training_ends, store.user_offsets
    if ends is not None and ((ends < offsets[:-1]) | (ends > offsets[1:])).any():
        raise _out_of_range(store, "training_ends", "a position outside its user's events")


def _check_codes(store: EventStore, name: str, codes: np.ndarray, table: str) -> None:
    _check_span(store, name, codes, UNKNOWN, FIRST_ID + store.vocabulary_size(table) - 1)


def _check_positions(store: EventStore, split: str) -> None:
    samples = store.samples[split]
    _check_span(store, f"{split}.user", samples.user, 0, store.users - 1)
    for part in parts_of(len(samples)):
        user, end = read_part(samples.user, part), read_part(samples.end, part)
        if (end < store.user_offsets[user]).any() or (end > store.user_offsets[user + 1]).any():
            raise _out_of_range(store, f"{split}.end", "a position outside its user's events")


def _check_span(store: EventStore, name: str, array: np.ndarray, low: float, high: float) -> None:
    for part in read_parts(array):
        least, most = part.min(), part.max()
        if not (low <= least and most <= high):
            wrong = least if not low <= least else most
            raise _out_of_range(store, name, f"{wrong}, expected {low} to {high}")


def _out_of_range(store: EventStore, name: str, found: str) -> DamagedStoreError:
    return DamagedStoreError(f"{store.folder / name}.npy holds {found}: the store is damaged", REMEDY)
