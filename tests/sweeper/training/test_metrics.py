"""Metrics against scikit-learn and against their definitions."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from mdaf.sweeper.training import metrics

samples = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60)


def columns(rows: list[tuple[int, bool, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scores, labels, users = zip(*rows, strict=True)
    return torch.tensor(scores).float(), torch.tensor(labels).float(), torch.tensor(users)


@settings(deadline=None)
@given(samples)
def test_auc_is_scikit_learns_with_ties_counting_half(rows: list) -> None:
    scores, labels, _ = columns(rows)
    value = metrics.auc(scores, labels)
    if len(labels.unique()) < 2:
        assert math.isnan(value)
    else:
        assert abs(value - roc_auc_score(labels, scores)) < 1e-12


@settings(deadline=None)
@given(samples)
def test_grouped_auc_is_the_mean_of_the_users_aucs_weighted_by_their_samples(rows: list) -> None:
    scores, labels, users = columns(rows)
    parts = []
    for user in users.unique():
        own = users == user
        if len(labels[own].unique()) == 2:
            parts.append((roc_auc_score(labels[own], scores[own]), int(own.sum())))
    value = metrics.grouped_auc(scores, labels, users)
    if not parts:
        assert math.isnan(value)
    else:
        expected = sum(a * n for a, n in parts) / sum(n for _, n in parts)
        assert abs(value - expected) < 1e-12


def test_log_loss_is_scikit_learns() -> None:
    logits, labels = torch.linspace(-3, 3, 50), (torch.arange(50) % 3 == 0).float()
    assert abs(metrics.log_loss(logits, labels) - log_loss(labels, logits.double().sigmoid())) < 1e-9
