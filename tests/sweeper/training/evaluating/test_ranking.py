"""Ranking metrics against a loop over every order that ties allow."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.sweeper.training.evaluating.ranking import ranking_metrics

CUTS = (1, 3)
#: Of each group the positive's score, then those of its negatives.
groups_of_scores = st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=5), min_size=1, max_size=6)


def measured(groups: list[list[int]]) -> dict[str, float]:
    scores = torch.tensor([score for group in groups for score in group]).float()
    labels = torch.tensor([float(place == 0) for group in groups for place in range(len(group))])
    number = torch.tensor([number for number, group in enumerate(groups) for _ in group])
    return ranking_metrics(scores, labels, number, CUTS)


def by_hand(groups: list[list[int]]) -> dict[str, float]:
    """The mean over groups of the mean over all orders of candidates that the scores allow."""
    sums: dict[str, float] = {}
    ranked = [group for group in groups if len(group) > 1]
    for group in ranked:
        orders = [p for p in permutations(range(len(group))) if [group[i] for i in p] == sorted(group, reverse=True)]
        for order in orders:
            rank = order.index(0) + 1
            gains = {"mrr": 1 / rank}
            for k in CUTS:
                gains |= {f"hr@{k}": float(rank <= k), f"ndcg@{k}": (rank <= k) / math.log2(rank + 1)}
            for name, gain in gains.items():
                sums[name] = sums.get(name, 0.0) + gain / len(orders) / len(ranked)
    return sums


@settings(deadline=None, max_examples=60)
@given(groups_of_scores)
def test_they_are_the_exact_mean_over_all_orders_that_ties_allow(groups: list[list[int]]) -> None:
    found = measured(groups)
    if all(len(group) == 1 for group in groups):
        assert all(math.isnan(value) for value in found.values())
    else:
        assert found == pytest.approx(by_hand(groups))
    assert list(found) == ["hr@1", "ndcg@1", "hr@3", "ndcg@3", "mrr"]


def test_a_model_that_scores_all_candidates_alike_gets_what_a_random_order_gets() -> None:
    found = measured([[7, 7, 7, 7, 7]] * 3)
    assert found["hr@1"] == pytest.approx(1 / 5)
    assert found["hr@3"] == pytest.approx(3 / 5)
    assert found["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, 6)) / 5)
