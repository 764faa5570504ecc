"""Checks before training that the metrics by which a run is judged exist on its data."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from omegaconf import DictConfig

from mdaf.data.store.arrays import read_part
from mdaf.data.store.batches.candidate_groups import candidate_groups
from mdaf.data.store.batches.histories import item_in_history
from mdaf.data.store.event_store import EventStore
from mdaf.errors import UserError
from mdaf.sweeper.runs.metric_columns import KINDS, cut_of, is_ranking
from mdaf.sweeper.training.evaluating import metrics
from mdaf.sweeper.training.evaluating.evaluation import cuts_of

SPLIT = "validation"


def check_measurable(cfg: DictConfig, store: EventStore) -> None:
    """UserError if validation rows do not give ``training.monitor`` or one of ``sweep.objectives``.

    That both classes are there is checked when data are prepared.
    """
    monitor = str(cfg.training.monitor)
    named = {"training.monitor": [monitor], "sweep.objectives": list(map(str, cfg.sweep.objectives))}
    cuts = cuts_of(cfg.training.ranking_at, monitor)
    for key, names in named.items():
        for name in names:
            if (why := _obstacle(name, store)) is not None:
                raise UserError(f"{key}: {name} does not exist on this data: {why}; choose another metric")
            if (k := cut_of(name)) is not None and k not in cuts:
                more = ",".join(map(str, sorted({*cuts, k})))
                raise UserError(f"{key}: {name} is not recorded; type training.ranking_at=[{more}]")


def _obstacle(name: str, store: EventStore) -> str | None:
    """Why validation rows do not give a metric, None if they do."""
    if is_ranking(name):
        return _no_ranking(store)
    samples = store.samples[SPLIT]
    labels = partial(read_part, samples.label, slice(None))
    if name == "val_gauc":
        users = torch.from_numpy(store.users_of[read_part(samples.user, slice(None))].astype(np.int64))
        value = metrics.grouped_auc(torch.zeros(len(users)), torch.from_numpy(labels()).float(), users)
        return "no user has validation rows of both labels" if np.isnan(value) else None
    if name in KINDS:
        held = item_in_history(store, SPLIT)
        if held is None:
            return "its events have no items"
        of_kind = labels()[held if name == KINDS[0] else ~held]
        return "its validation rows of this kind have one label" if len(np.unique(of_kind)) < 2 else None
    return None


def _no_ranking(store: EventStore) -> str | None:
    groups = candidate_groups(store, SPLIT)
    if groups is None:
        return "it ranks the negatives that were drawn for each positive, and this log has labels"
    return "no positive in validation has a negative" if len(np.unique(groups)) == len(groups) else None
