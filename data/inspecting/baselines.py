"""Trivial rules: what a model must beat before it has learned anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score

from mdaf.data.schema import MATCH_EQUALS
from mdaf.data.store.arrays import parts_of, read_part
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import MATCH_PREFIX, EventStore, count_codes

COUNT, RECENCY, POPULARITY = "category count", "category recency", "popularity"
_CHUNK = 16_384  # samples gathered together


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; NaN if the labels are all the same."""
    return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) == 2 else float("nan")


def rule_scores(store: EventStore, split: str, gathered: DeviceStore | None = None) -> dict[str, np.ndarray]:
    """Each rule's score of each sample of a split, (samples,).

    ``COUNT``       events of the history that are of the candidate's category.
    ``RECENCY``     how few events ago that category occurred last; the lowest score if it did not.
    ``POPULARITY``  events of training that are of the candidate item.
    """
    return {**_category_scores(gathered or _in_its_files(store), split), **_popularity(store, split)}


def rule_aucs(store: EventStore, splits: tuple[str, ...] = ("validation", "test")) -> dict[str, dict[str, float]]:
    """Rule -> split -> AUC."""
    gathered = _in_its_files(store)
    by_split = {split: rule_scores(store, split, gathered) for split in splits}
    rules = next(iter(by_split.values()))
    return {rule: {split: auc(store.samples[split].label, by_split[split][rule]) for split in splits} for rule in rules}


def _in_its_files(store: EventStore) -> DeviceStore:
    """A store for which no memory is needed: each sample is looked at once."""
    return DeviceStore(store, "cpu", memory_fraction=0)


def oracle_auc(store: EventStore, split: str) -> float | None:
    """AUC of the true click probabilities, the limit for any model; None where they are not known."""
    samples = store.samples[split]
    return None if samples.probability is None else auc(samples.label, samples.probability)


def _category_scores(gathered: DeviceStore, split: str) -> Mapping[str, np.ndarray]:
    field = f"{MATCH_PREFIX}category"
    if all(match.name != field for match in gathered.schema.matches):
        return {}
    counts, recencies = [], []
    for rows in gathered.rows(split).split(_CHUNK):
        batch = gathered.gather(split, rows[None])
        equal = (batch.sequence[field][0] == MATCH_EQUALS).numpy()
        lengths = batch.lengths[0].numpy()
        last = np.where(equal, np.arange(equal.shape[1]), -1).max(axis=1)
        counts.append(equal.sum(axis=1))
        recencies.append(np.where(last >= 0, last - lengths, -gathered.schema.length - 1))
    return {COUNT: np.concatenate(counts), RECENCY: np.concatenate(recencies)}


def _popularity(store: EventStore, split: str) -> Mapping[str, np.ndarray]:
    if "item" not in store.schema.target:
        return {}
    candidates = store.samples[split].static[store.schema.target["item"]]
    items = store.events["item"]
    training = (read_part(items, part)[store.of_training(part)] for part in parts_of(len(items)))
    return {POPULARITY: count_codes(training, int(candidates.max(initial=0)) + 1)[candidates]}
