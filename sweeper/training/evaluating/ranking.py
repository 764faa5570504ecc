"""Ranking metrics of next-click tasks: where a positive stands among its candidates. Computed on the scores' device.

A group is a positive and the negatives that were drawn for it. Of its negatives b have a higher score than the positive
and e have the same one. The positive's rank r is then b + 1, ..., b + e + 1, each with the same probability, and every
metric is its exact mean over these ranks (McSherry and Najork 2008, "Computing Information Retrieval Performance
Measures Efficiently in the Presence of Tied Scores"). So a model that scores all candidates alike gets what a random
order gets.

    HR@K   = mean over groups of [r <= K]                      (the hit ratio of He et al. 2017, arXiv 1708.05031)
    NDCG@K = mean over groups of [r <= K] / log2(r + 1)        (Jaervelin and Kekaelaeinen 2002, one relevant item)
    MRR    = mean over groups of 1 / r                         (Voorhees 1999)

These are ranks among a few drawn negatives. They are not the ranks among all items, and may order models in another way
(Krichene and Rendle 2020, "On Sampled Metrics for Item Recommendation"). Groups without a negative are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdaf.sweeper.runs.metric_columns import cut_of, ranking_names
from mdaf.sweeper.training.evaluating.metrics import check_finite


@dataclass(frozen=True)
class Ranks:
    """How each group's positive stands, (group,) int64 on the CPU: groups without a negative are left out.

    ``higher``  negatives with a higher score than the positive. ``equal``: with the same one. ``row``: the positive's.
    """

    higher: Tensor
    equal: Tensor
    row: Tensor


def ranks(scores: Tensor, labels: Tensor, groups: Tensor) -> Ranks:
    """The ranks of positives; scores, labels, groups (row,), where each group has one positive."""
    check_finite(scores)
    positive = labels > 0.5
    rows = positive.nonzero().squeeze(1)
    count = int(groups.max()) + 1 if len(groups) else 0
    own = torch.full((count,), float("inf"), dtype=scores.dtype, device=scores.device)
    own[groups[rows]] = scores[rows]
    row = torch.zeros(count, dtype=torch.int64, device=scores.device)
    row[groups[rows]] = rows
    negative_groups, reference = groups[~positive], own[groups[~positive]]
    negatives = scores[~positive]
    higher = torch.zeros(count, dtype=torch.int64, device=scores.device)
    equal, size = torch.zeros_like(higher), torch.zeros_like(higher)
    higher.index_add_(0, negative_groups, (negatives > reference).long())
    equal.index_add_(0, negative_groups, (negatives == reference).long())
    size.index_add_(0, negative_groups, torch.ones_like(negative_groups, dtype=torch.int64))
    kept = (size > 0) & own.isfinite()
    return Ranks(higher[kept].cpu(), equal[kept].cpu(), row[kept].cpu())


def of_each_group(found: Ranks, cuts: Sequence[int]) -> dict[str, Tensor]:
    """Each group's share of the ranking metrics, by name in the order of their columns: (group,) float64."""
    most = int((found.higher + found.equal).max()) + 1 if len(found.row) else 1
    rank = torch.arange(1, most + 1, dtype=torch.float64)

    def expected(gain: Tensor) -> Tensor:
        """The mean over ties of ``gain`` (rank,)."""
        total = torch.cat([torch.zeros(1, dtype=torch.float64), gain.cumsum(0)])
        return (total[found.higher + found.equal + 1] - total[found.higher]) / (found.equal + 1)

    def gain_of(name: str) -> Tensor:
        if (k := cut_of(name)) is None:
            return 1 / rank
        within = (rank <= k).double()
        return within if name.startswith("hr") else within / (rank + 1).log2()

    return {name: expected(gain_of(name)) for name in ranking_names(cuts)}


def ranking_metrics(scores: Tensor, labels: Tensor, groups: Tensor, cuts: Sequence[int]) -> dict[str, float]:
    """HR@K and NDCG@K at each of ``cuts``, and MRR; scores, labels, groups (row,). NaN if no group has a negative."""
    each = of_each_group(ranks(scores, labels, groups), cuts)
    return {name: float(values.mean()) if len(values) else float("nan") for name, values in each.items()}
