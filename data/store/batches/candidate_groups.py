"""Tells which samples of a store compete with each other: a positive and the negatives that were drawn for it."""

from __future__ import annotations

import numpy as np

from mdaf.data.store.arrays import parts_of, read_part
from mdaf.data.store.event_store import EventStore
from mdaf.data.store.manifest import CANDIDATE_GROUPS


def candidate_groups(store: EventStore, split: str) -> np.ndarray | None:
    """The number of the candidate group of each sample of a split, (samples,) int32; None if the log has labels.

    A group is a positive and its negatives. It is written in one piece, the positive first, so numbers ascend from 0.
    A group has fewer negatives than ``data.negatives`` where they could not be drawn; it may have none.
    """
    if not has_candidate_groups(store):
        return None
    label = store.samples[split].label
    group = np.empty(len(label), dtype=np.int32)
    before = 0
    for part in parts_of(len(label)):
        group[part] = before + np.cumsum(read_part(label, part), dtype=np.int32)
        before = int(group[part][-1])
    return group - np.int32(1)


def has_candidate_groups(store: EventStore) -> bool:
    """Whether the samples of a store are positives with drawn negatives, of ``data.task=next_click``."""
    if CANDIDATE_GROUPS in store.manifest:
        return store.manifest[CANDIDATE_GROUPS]
    settings = store.manifest.get("settings", {})  # a store of an earlier version
    if settings.get("task") != "next_click":
        return False
    labelled = settings.get("columns", {}).get("label") is not None
    return not labelled and len(store.manifest.get("inputs", ())) == 1
