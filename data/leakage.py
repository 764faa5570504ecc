"""Verifies on a prepared store that nothing of a later time reaches an earlier sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data.errors import LeakageError
from data.schema import FIRST_ID
from data.store import USER_TABLE, EventStore, Samples

_CHUNK = 1 << 22  # elements looked at together: bounds the memory


def _chunks(length: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, length)) for start in range(0, length, _CHUNK))


def leakage_check(store: EventStore) -> None:
    """LeakageError unless splits follow each other in time, histories end before their samples, and training alone
    made the vocabularies."""
    _check_splits(store)
    for split, samples in store.samples.items():
        for part in _chunks(len(samples)):
            _check_histories(store, split, samples, part)
    _check_vocabularies(store)


def _check_splits(store: EventStore) -> None:
    validation, test = store.boundaries
    # Where both begin at once, something else than time tells them apart.
    bounds = {"train": (None, validation), "validation": (validation, test if test > validation else None)}
    bounds["test"] = (test, None)
    for split, (first, last) in bounds.items():
        times = store.samples[split].time
        if len(times) and first is not None and times.min() < first:
            raise LeakageError(f"{store.folder}: a {split} sample is from {times.min()}, the split begins at {first}")
        if len(times) and last is not None and times.max() >= last:
            raise LeakageError(f"{store.folder}: a {split} sample is from {times.max()}, the split ends at {last}")


def _check_histories(store: EventStore, split: str, samples: Samples, part: slice) -> None:
    user, end, time = samples.user[part], samples.end[part], samples.time[part]
    first, last = store.user_offsets[user], store.user_offsets[user + 1]
    if np.any(end < first) or np.any(end > last):
        raise LeakageError(f"{store.folder}: a {split} history holds another user's events")
    some = end > first
    if np.any(store.time[end[some] - 1] >= time[some]):
        raise LeakageError(f"{store.folder}: a {split} history holds an event that is not strictly before its sample")
    more = end < last
    if np.any(store.time[end[more]] < time[more]):
        raise LeakageError(f"{store.folder}: a {split} history lacks an event that is strictly before its sample")


def _check_vocabularies(store: EventStore) -> None:
    """Every code that has a row occurs in training: in its samples or in an event before validation begins."""
    validation, _ = store.boundaries
    seen = {table: np.zeros(rows, dtype=bool) for table, rows in store.schema.tables.items()}

    def mark(table: str, codes: np.ndarray) -> None:
        seen[table][codes[codes < len(seen[table])]] = True

    for part in _chunks(len(store.time)):
        training = store.time[part] < validation
        for field in store.schema.sequence:
            if field.name in store.events:
                mark(field.table, store.events[field.name][part][training])
    for field in store.schema.static:
        for part in _chunks(len(store.samples["train"])):
            mark(field.table, store.samples["train"].static[field.name][part])
    if USER_TABLE in seen:
        first, last = store.user_offsets[:-1], store.user_offsets[1:]
        active = np.flatnonzero(first < last)
        mark(USER_TABLE, store.users_of[active[store.time[first[active]] < validation]] + FIRST_ID)
    computed = {field.table for field in store.schema.sequence if field.name not in store.events}
    computed |= {field.table for field in store.schema.matches}
    for table, rows in seen.items():
        if table not in computed and not rows[FIRST_ID:].all():
            unseen = int((~rows[FIRST_ID:]).sum())
            raise LeakageError(f"{store.folder}: {unseen} rows of table {table!r} name things that training lacks")
