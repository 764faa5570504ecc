"""The AUC of trivial rules, such as popularity. A model that does not beat them has learned nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mdaf.data.schema import MATCH_EQUALS
from mdaf.data.store.arrays import parts_of, read_part
from mdaf.data.store.batches.histories import item_in_history
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import MATCH_PREFIX, SPLITS, EventStore, count_codes

COUNT, RECENCY, POPULARITY = "category count", "category recency", "popularity"
IN_HISTORY = "item in history"
Aucs = dict[str, dict[str, float]]  # rule -> split -> AUC
_BATCH = 16_384  # samples


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve; NaN if all labels are the same."""
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    positive = np.bincount(places, weights=np.asarray(labels) > 0, minlength=len(values))
    negative = counts - positive
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((below + negative / 2) @ positive / pairs) if pairs else float("nan")


def rule_scores(
    store: EventStore, split: str, gathered: DeviceStore | None = None, blocks: Sequence[slice] | None = None
) -> dict[str, np.ndarray]:
    """The scores of each rule for the samples of a split, or for these ``blocks`` of them, (samples,) each.

    ``IN_HISTORY``  whether the candidate item is in the history.
    ``COUNT``       events of the history that are of the candidate's category.
    ``RECENCY``     how few events ago that category occurred last; the lowest score if it did not.
    ``POPULARITY``  events of training that are of the candidate item; not in training, where a sample's own counts.
    """
    held = item_in_history(store, split, blocks)
    return {
        **({} if held is None else {IN_HISTORY: held}),
        **_category_scores(gathered or _from_files(store), split, blocks),
        **({} if split == "train" else _popularity(store, split, blocks)),
    }


def rule_aucs(store: EventStore, splits: tuple[str, ...] = ("validation", "test")) -> Aucs:
    """Rule -> split -> AUC."""
    return rule_aucs_of_both(store, splits)[0]


def rule_aucs_of_both(store: EventStore, splits: tuple[str, ...] = SPLITS) -> tuple[Aucs, Aucs]:
    """AUCs of the rules on all samples, and on those whose item is new to the user; NaN where there is none."""
    gathered = _from_files(store)
    on_all: Aucs = {}
    on_new: Aucs = {}
    for split in splits:
        labels, scores = np.asarray(store.samples[split].label), rule_scores(store, split, gathered)
        new = ~scores[IN_HISTORY] if IN_HISTORY in scores else None
        for rule, values in scores.items():
            on_all.setdefault(rule, {})[split] = auc(labels, values)
            if new is not None and rule != IN_HISTORY:
                on_new.setdefault(rule, {})[split] = auc(labels[new], values[new])
    return on_all, on_new


def _from_files(store: EventStore) -> DeviceStore:
    """The store without a copy in memory. Each sample is read only once, so a copy would not pay."""
    return DeviceStore(store, "cpu", memory_fraction=0)


def oracle_auc(store: EventStore, split: str) -> float | None:
    """The AUC of the true click probabilities, which no model can exceed; None if they are unknown."""
    samples = store.samples[split]
    return None if samples.probability is None else auc(samples.label, samples.probability)


def _category_scores(gathered: DeviceStore, split: str, blocks: Sequence[slice] | None) -> Mapping[str, np.ndarray]:
    field = f"{MATCH_PREFIX}category"
    if all(match.name != field for match in gathered.schema.matches):
        return {}
    counts, recencies = [], []
    every = gathered.rows(split)
    for rows in every.split(_BATCH) if blocks is None else [every[block] for block in blocks]:
        batch = gathered.gather(split, rows[None])
        equal = (batch.sequence[field][0] == MATCH_EQUALS).numpy()
        lengths = batch.lengths[0].numpy()
        last = np.where(equal, np.arange(equal.shape[1]), -1).max(axis=1)
        counts.append(equal.sum(axis=1))
        recencies.append(np.where(last >= 0, last - lengths, -gathered.schema.length - 1))
    return {COUNT: np.concatenate(counts), RECENCY: np.concatenate(recencies)} if counts else {}


def _popularity(store: EventStore, split: str, blocks: Sequence[slice] | None) -> Mapping[str, np.ndarray]:
    if "item" not in store.schema.target:
        return {}
    candidates = store.samples[split].static[store.schema.target["item"]]
    if blocks is not None:
        candidates = np.concatenate([np.zeros(0, candidates.dtype), *(read_part(candidates, part) for part in blocks)])
    items = store.events["item"]
    training = (read_part(items, part)[store.of_training(part)] for part in parts_of(len(items)))
    return {POPULARITY: count_codes(training, int(candidates.max(initial=0)) + 1)[candidates]}
