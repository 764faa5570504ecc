"""Checks a new store for leakage: no sample may contain information from a later time. ``prepare`` calls it."""

from __future__ import annotations

import numpy as np

from mdaf.data.schema import FIRST_ID
from mdaf.data.store.arrays import parts_of, read_part, read_parts
from mdaf.data.store.event_store import USER_TABLE, EventStore
from mdaf.errors import LeakageError


def leakage_check(store: EventStore) -> None:
    """Raises LeakageError if the store has leakage.

    Splits must follow each other in time. Histories must end before their samples. The users of the test must be the
    held-out users, if there are any. Every row of an embedding table must occur in training.
    """
    for split, samples in store.samples.items():
        for part in parts_of(len(samples)):
            time = read_part(samples.time, part)
            _check_period(store, split, time)
            _check_histories(store, split, time, read_part(samples.user, part), read_part(samples.end, part))
    if store.held_out:
        _check_held_out(store)
    _check_order(store)
    _check_vocabularies(store)


def _check_period(store: EventStore, split: str, time: np.ndarray) -> None:
    validation, test = store.boundaries
    # If both begin at the same time, the splits are not defined by time.
    ends = {"train": validation, "validation": test if test > validation else None, "test": None}
    begins = {"train": None, "validation": validation, "test": test}
    first, last = begins[split], ends[split]
    if first is not None and time.min() < first:
        raise LeakageError(f"{store.folder}: a {split} sample is from {time.min()}, the split begins at {first}")
    if last is not None and time.max() >= last:
        raise LeakageError(f"{store.folder}: a {split} sample is from {time.max()}, the split ends at {last}")


def _check_histories(store: EventStore, split: str, time: np.ndarray, user: np.ndarray, end: np.ndarray) -> None:
    first, last = store.user_offsets[user], store.user_offsets[user + 1]
    if np.any(end < first) or np.any(end > last):
        raise LeakageError(f"{store.folder}: a {split} history holds another user's events")
    some = end > first
    if np.any(_event_times(store, end[some] - 1) >= time[some]):
        raise LeakageError(f"{store.folder}: a {split} history holds an event that is not strictly before its sample")
    more = end < last
    if np.any(_event_times(store, end[more]) < time[more]):
        raise LeakageError(f"{store.folder}: a {split} history lacks an event that is strictly before its sample")


def _event_times(store: EventStore, position: np.ndarray) -> np.ndarray:
    """The times of the events at some positions, (positions,).

    Samples are in the order of their events, so a part of the samples needs few parts of the events.
    """
    time = np.empty(len(position), dtype=np.int64)
    low, high = int(position.min(initial=len(store.time))), int(position.max(initial=-1))
    for part in parts_of(high + 1 - low):
        start, stop = low + part.start, low + part.stop
        here = (position >= start) & (position < stop)
        time[here] = read_part(store.time, slice(start, stop))[position[here] - start]
    return time


def _check_held_out(store: EventStore) -> None:
    for split, samples in store.samples.items():
        for user in read_parts(samples.user):
            if np.any(store.held_out_users[store.users_of[user]] != (split == "test")):
                other = "no user who is held out" if split == "test" else "a user who is held out"
                raise LeakageError(f"{store.folder}: a {split} sample is of {other}")


def _check_order(store: EventStore) -> None:
    """Raises LeakageError if a user's events are not sorted by time: a history's last event would not be its latest."""
    begins = np.asarray(store.user_offsets)
    for part in parts_of(len(store.time)):
        time = read_part(store.time, slice(max(0, part.start - 1), part.stop))
        backwards = np.flatnonzero(np.diff(time) < 0) + max(1, part.start)  # fewer than the last of ``begins``
        if np.any(begins[np.searchsorted(begins, backwards)] != backwards):
            raise LeakageError(f"{store.folder}: the events of a user are not in the order of time")


def _check_vocabularies(store: EventStore) -> None:
    """Raises LeakageError if a code with a row does not occur in training, in a sample or in an event."""
    seen = {table: np.zeros(rows, dtype=bool) for table, rows in store.schema.tables.items()}

    def mark(table: str, codes: np.ndarray) -> None:
        seen[table][codes[codes < len(seen[table])]] = True

    for part in parts_of(len(store.time)):
        training = store.of_training(part)
        for field in store.schema.sequence:
            if field.name in store.events:
                mark(field.table, read_part(store.events[field.name], part)[training])
    for field in store.schema.static:
        for codes in read_parts(store.samples["train"].static[field.name]):
            mark(field.table, codes)
    if USER_TABLE in seen:
        first, last = store.user_offsets[:-1], store.user_offsets[1:]
        active = np.flatnonzero(first < last)
        early = store.users_of[active[_event_times(store, first[active]) < store.boundaries[0]]]
        mark(USER_TABLE, (early[~store.held_out_users[early]] if store.held_out else early) + FIRST_ID)
    computed = {field.table for field in store.schema.sequence if field.name not in store.events}
    computed |= {field.table for field in store.schema.matches}
    for table, rows in seen.items():
        if table not in computed and not rows[FIRST_ID:].all():
            unseen = int((~rows[FIRST_ID:]).sum())
            raise LeakageError(f"{store.folder}: {unseen} rows of table {table!r} name things that training lacks")
