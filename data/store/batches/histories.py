"""Finds out whether candidates occur in their users' histories. The files are read part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mdaf.data.schema import UNKNOWN
from mdaf.data.store.arrays import read_at, read_part

if TYPE_CHECKING:
    from mdaf.data.store.event_store import EventStore

ITEM = "item"
_BLOCK = 8192  # samples whose histories are read at once


def blocks_of(samples: int) -> Iterator[slice]:
    """Slices that cut the samples of a split into blocks whose histories fit in memory."""
    return (slice(start, min(start + _BLOCK, samples)) for start in range(0, samples, _BLOCK))


def is_compared(store: EventStore, name: str) -> bool:
    """Whether both events and candidates have a field, so that they can be compared."""
    return name in store.schema.target and name in store.events


def in_history(
    store: EventStore, split: str, name: str, part: slice, candidates: np.ndarray | None = None
) -> np.ndarray:
    """Whether each sample's history contains the candidate's value of a field, bool (samples,).

    A missing value occurs in no history.

    ``candidates``  other codes to search for in these histories; by default the samples' own.
    """
    samples = store.samples[split]
    end = read_part(samples.end, part)
    if candidates is None:
        candidates = read_part(samples.static[store.schema.target[name]], part)
    length = np.minimum(end - store.user_offsets[read_part(samples.user, part)], store.schema.length)
    owner = np.repeat(np.arange(len(end)), length)
    first = np.repeat(end - np.cumsum(length), length)  # minus the events of earlier histories
    held = read_at(store.events[name], first + np.arange(len(owner)))
    found = np.zeros(len(end), dtype=bool)
    found[owner[(held == candidates[owner]) & (held != UNKNOWN)]] = True
    return found


def item_in_history(store: EventStore, split: str, blocks: Iterable[slice] | None = None) -> np.ndarray | None:
    """Whether the item of each sample of a split occurs in its user's history; None if events have no items.

    ``blocks``  of the split's samples; by default all.
    """
    if not is_compared(store, ITEM):
        return None
    found = [in_history(store, split, ITEM, block) for block in blocks or blocks_of(len(store.samples[split]))]
    return np.concatenate(found) if found else None
