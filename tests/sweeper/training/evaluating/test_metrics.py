"""Metrics against scikit-learn and against their definitions."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from fractions import Fraction

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from mdaf.sweeper.training.evaluating import metrics

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


@settings(deadline=None)
@given(samples, st.integers(1, 20), st.randoms())
def test_calibration_error_is_guos_over_bins_of_equal_mass_whatever_the_order_of_rows(
    rows: list, bins: int, order: random.Random
) -> None:
    logits, labels, _ = columns(rows)
    binned = defaultdict(list)
    for score, label, _ in rows:
        below, upto = sum(other < score for other, _, _ in rows), sum(other <= score for other, _, _ in rows)
        middle = Fraction(below + upto, 2 * len(rows))  # where the rows of this score stand, from 0 to 1
        binned[int(middle * bins)].append((1 / (1 + math.exp(-score)), label))
    expected = sum(
        len(own) / len(rows) * abs(sum(p for p, _ in own) / len(own) - sum(y for _, y in own) / len(own))
        for own in binned.values()
    )
    assert abs(metrics.calibration_error(logits, labels, bins) - expected) < 1e-9
    order.shuffle(rows)
    assert abs(metrics.calibration_error(*columns(rows)[:2], bins) - expected) < 1e-9


def test_calibrated_scores_have_nearly_no_calibration_error_and_shifted_ones_have_the_shift() -> None:
    probabilities = torch.linspace(0.01, 0.6, 60_000, dtype=torch.float64)
    clicks = (torch.rand(60_000, generator=torch.Generator().manual_seed(1)) < probabilities).float()
    assert metrics.calibration_error(probabilities.logit(), clicks) < 0.01
    assert abs(metrics.calibration_error((probabilities + 0.2).logit(), clicks) - 0.2) < 0.01
