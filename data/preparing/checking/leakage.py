"""Checks a new store for leakage: no sample may contain information from a later time. ``prepare`` calls it."""

from __future__ import annotations

import numpy as np

from mdaf.data.reading.local_time import FARTHEST
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.arrays import parts_of, read_at, read_part, read_parts
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.data.store.promises import NONE, TIME, TRAINING_FIRST, USERS, WITHIN_USERS, promise_of
from mdaf.data.store.seen import seen_in_training
from mdaf.errors import LeakageError


def leakage_check(store: EventStore) -> None:
    """Raises LeakageError if the store has leakage.

    The splits must keep their promise; see ``mdaf.data.store.promises``. Histories must end before their samples. The
    users of the test must be the held-out users, if there are any. Every row of an embedding table must occur in
    training.
    """
    for split, samples in store.samples.items():
        for part in parts_of(len(samples)):
            time = read_part(samples.time, part)
            if store.training_ends is None:
                _check_period(store, split, time)
            _check_histories(store, split, time, read_part(samples.user, part), read_part(samples.end, part))
    if store.held_out:
        _check_held_out(store)
    _check_promise(store)
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


def _check_promise(store: EventStore) -> None:
    """Raises LeakageError if what the splits promise of each user does not hold."""
    promise = promise_of(store)
    if promise in (TIME, TRAINING_FIRST, NONE):  # ``_check_period`` has checked the first two
        return
    train, validation, test = (_span_of_users(store, split) for split in SPLITS)
    if promise == USERS:
        present = np.sum([first <= last for first, last in (train, validation, test)], axis=0)
        broken, found = present > 1, "is in two splits"
    else:
        held = np.minimum(validation[0], test[0])
        broken, found = train[1] > held, "has a training sample after one of validation or test"
        if promise == WITHIN_USERS and not broken.any():
            broken, found = validation[1] > test[0], "has a validation sample after one of the test"
    if not broken.any() and store.training_ends is not None:
        broken, found = _trains_late(store, promise, np.minimum(validation[0], test[0])), "has a later training event"
    if broken.any():
        raise LeakageError(f"{store.folder}: a user {found}, user number {int(np.flatnonzero(broken)[0])}")


def _trains_late(store: EventStore, promise: str, held: np.ndarray) -> np.ndarray:
    """Whether a user's events count as training that must not, bool (users,).

    ``held``  the time of each user's first sample of validation or test, (users,).
    """
    assert store.training_ends is not None
    late = np.zeros(store.users, dtype=bool)
    some = np.flatnonzero(store.training_ends > store.user_offsets[:-1])
    last = read_at(store.time, store.training_ends[some] - 1)
    late[some] = held[some] < FARTHEST if promise == USERS else last > held[some]
    return late


def _span_of_users(store: EventStore, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The times of each user's first and last sample of a split, (users,); the first is later where there is none."""
    count = int(store.users_of.max(initial=-1)) + 1
    first, last = np.full(count, FARTHEST, dtype=np.int64), np.full(count, -FARTHEST, dtype=np.int64)
    samples = store.samples[split]
    for part in parts_of(len(samples)):
        user, time = store.users_of[read_part(samples.user, part)], read_part(samples.time, part)
        np.minimum.at(first, user, time)
        np.maximum.at(last, user, time)
    return first, last


def _check_histories(store: EventStore, split: str, time: np.ndarray, user: np.ndarray, end: np.ndarray) -> None:
    first, last = store.user_offsets[user], store.user_offsets[user + 1]
    if np.any(end < first) or np.any(end > last):
        raise LeakageError(f"{store.folder}: a {split} history holds another user's events")
    some = end > first
    if np.any(read_at(store.time, end[some] - 1) >= time[some]):
        raise LeakageError(f"{store.folder}: a {split} history holds an event that is not strictly before its sample")
    more = end < last
    if np.any(read_at(store.time, end[more]) < time[more]):
        raise LeakageError(f"{store.folder}: a {split} history lacks an event that is strictly before its sample")


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
    """Raises LeakageError if a code with a row does not occur in training, in a sample or in an event.

    Of numeric and multi-valued fields, each row must be read by a cell that does.
    """
    for table, seen in seen_in_training(store).items():
        if table in store.schema.cells:
            read = np.zeros(store.schema.tables[table], dtype=bool)
            read[store.pairs(table).ids[seen]] = True
            seen = read
        rows = seen[FIRST_ID : store.schema.tables[table]]
        if not rows.all():
            unseen = int((~rows).sum())
            raise LeakageError(f"{store.folder}: {unseen} rows of table {table!r} name things that training lacks")
