"""Finds the codes of each table that occur in training."""

from __future__ import annotations

import numpy as np

from mdaf.data.schema import FIRST_ID
from mdaf.data.store.arrays import parts_of, read_at, read_part, read_parts
from mdaf.data.store.event_store import USER_TABLE, EventStore

MOST = 0.5  # if a larger share of validation's users does not occur in training, models leave the user's id out


def seen_in_training(store: EventStore) -> dict[str, np.ndarray]:
    """Table -> whether each of its codes occurs in training, in a sample or in an event.

    Tables of computed values, which have no vocabulary, are left out.
    """
    schema = store.schema
    stored = [field for field in schema.sequence if field.name in store.events]
    tables = {field.table for field in (*schema.static, *stored)}
    seen = {table: np.zeros(FIRST_ID + len(store.vocabulary(table)), dtype=bool) for table in tables}

    def mark(table: str, codes: np.ndarray) -> None:
        seen[table][codes[codes < len(seen[table])]] = True  # ``check_ranges`` finds invalid codes

    for part in parts_of(len(store.time)):
        training = store.of_training(part)
        for field in stored:
            mark(field.table, read_part(store.events[field.name], part)[training])
    for field in schema.static:
        for codes in read_parts(store.samples["train"].static[field.name]):
            mark(field.table, codes)
    if USER_TABLE in seen:
        mark(USER_TABLE, np.flatnonzero(_known_by_events(store)) + FIRST_ID)
    return seen


def has_users(store: EventStore) -> bool:
    """Whether samples have the user's id as a field. In a log without users each row is of another one."""
    return any(field.table == USER_TABLE for field in store.schema.static)


def unknown_users(store: EventStore, split: str) -> float:
    """The share of a split's users who do not occur in training, neither in an event nor in a sample.

    0 if the log has no users: each row has its own then, and none is known.
    """
    if not has_users(store):
        return 0.0
    known = _known_by_events(store)
    occur = np.zeros_like(known)
    for user in read_parts(store.samples[split].user):
        occur[store.users_of[user]] = True
    users = np.flatnonzero(occur)
    if known[users].all():
        return 0.0
    for user in read_parts(store.samples["train"].user):
        known[store.users_of[user]] = True
    return float(np.mean(~known[users]))


def _known_by_events(store: EventStore) -> np.ndarray:
    """Whether each user has an event that belongs to training, bool by the user's index (see ``users_of``)."""
    known = np.zeros(int(store.users_of.max(initial=-1)) + 1, dtype=bool)
    first, last = store.user_offsets[:-1], store.user_offsets[1:]
    if store.training_ends is not None:
        known[store.users_of[np.asarray(store.training_ends) > first]] = True
        return known
    active = np.flatnonzero(first < last)
    known[store.users_of[active[read_at(store.time, first[active]) < store.boundaries[0]]]] = True
    return known & ~store.held_out_users[: len(known)] if store.held_out else known
