"""Two AUCs on the same rows: DeLong against its definition and against a bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdaf.multirun.analysis.rows.roc import delong, roc_auc
from mdaf.sweeper.training.evaluating import metrics
from mdaf.sweeper.training.evaluating.resampling import resampled_aucs, resampled_error, user_weights


def scored(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models' scores that share most of their noise, and labels."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(float)
    shared = labels + rng.normal(0, 1.5, rows)
    return shared + rng.normal(0, 0.5, rows), np.round(shared + rng.normal(0, 0.7, rows), 1), labels


def delong_by_definition(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> float:
    """The variance of the difference from the placement of every pair, as the paper writes it."""
    placements = []
    for scores in (a, b):
        x, y = scores[labels > 0.5], scores[labels < 0.5]
        placements.append((x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y))
    difference = placements[0] - placements[1]  # (click, other)
    m, n = difference.shape
    return float(difference.mean(1).var(ddof=1) / m + difference.mean(0).var(ddof=1) / n)


def test_delong_by_midranks_is_delong_by_pairs() -> None:
    a, b, labels = scored()
    found = delong(a, b, labels)
    assert found.standard_error**2 == pytest.approx(delong_by_definition(a, b, labels))
    assert (found.auc_a, found.auc_b) == (pytest.approx(roc_auc(a, labels)), pytest.approx(roc_auc(b, labels)))


def test_the_auc_is_the_training_loops() -> None:
    _, tied, labels = scored()
    assert roc_auc(tied, labels) == pytest.approx(metrics.auc(torch.tensor(tied), torch.tensor(labels)))


def test_delong_agrees_with_a_bootstrap_where_each_row_is_a_user() -> None:
    a, b, labels = scored(rows=1500)
    users = np.arange(len(labels))
    weights = user_weights(users, 1500, np.random.default_rng(2))
    differences = resampled_aucs(a, labels, users, weights) - resampled_aucs(b, labels, users, weights)
    found = delong(a, b, labels)
    assert resampled_error(differences) == pytest.approx(found.standard_error, rel=0.1)


def test_a_resample_without_a_value_is_left_out_of_the_error() -> None:
    assert resampled_error(np.array([1.0, np.nan, 3.0])) == pytest.approx(2**0.5)
    assert resampled_error(np.array([np.nan, 1.0])) is None


def test_a_model_against_itself_does_not_differ() -> None:
    a, _, labels = scored()
    assert delong(a, a, labels).p == 1.0


def test_a_resample_that_draws_every_user_once_gives_the_auc_itself() -> None:
    _, tied, labels = scored()
    users = np.arange(len(labels)) // 4
    ones = np.ones((1, len(np.unique(users))), dtype=np.int32)
    assert resampled_aucs(tied, labels, users, ones)[0] == pytest.approx(roc_auc(tied, labels))


def test_the_auc_of_a_resample_is_that_of_rows_written_out_as_often_as_their_users_are_drawn() -> None:
    rng = np.random.default_rng(5)
    users, labels = rng.integers(0, 30, size=400), (rng.random(400) < 0.2).astype(float)
    for scores in (rng.random(400), np.round(rng.random(400), 1), labels, np.zeros(400)):
        weights = user_weights(users, 40, rng)
        weights[0] = 0  # no row at all, so no class
        written = [np.repeat(np.arange(400), row[users]) for row in weights]
        found = resampled_aucs(scores, labels, users, weights)
        assert found == pytest.approx([roc_auc(scores[rows], labels[rows]) for rows in written], nan_ok=True)


@pytest.mark.parametrize("resamples", [1, 40, 1100])
@pytest.mark.parametrize("digits", [1, 9])
def test_the_kernel_of_resampled_aucs_agrees_bit_for_bit_with_its_reference(resamples: int, digits: int) -> None:
    rng = np.random.default_rng(7)
    users, labels = rng.integers(0, 50, size=900), (rng.random(900) < 0.1).astype(np.int8)
    scores = np.round(rng.normal(size=900), digits).astype(np.float32)
    weights = user_weights(users, resamples, rng)
    weights[0] = 0
    found = resampled_aucs(scores, labels, users, weights)
    expected = resampled_aucs(scores, labels, users, weights, "reference")
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.isnan(found[0])


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_no_rows_have_no_auc_in_any_resample(backend: str) -> None:
    none = np.zeros(0, dtype=np.int64)
    assert np.isnan(resampled_aucs(none.astype(np.float32), none, none, np.zeros((3, 0), np.uint8), backend)).all()


def test_resamples_that_are_drawn_together_are_those_that_are_drawn_one_by_one() -> None:
    users = np.arange(300)
    together = user_weights(users, 70, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    assert np.array_equal(together, np.concatenate([user_weights(users, 1, rng) for _ in range(70)]))
    assert (together.sum(axis=1) == 300).all()


def test_rows_that_repeat_in_a_user_widen_the_interval() -> None:
    a, b, labels = scored(rows=300)
    a, b, labels = (np.repeat(values, 5) for values in (a, b, labels))
    users = np.arange(len(labels)) // 5
    weights = user_weights(users, 800, np.random.default_rng(2))
    by_user = resampled_aucs(a, labels, users, weights) - resampled_aucs(b, labels, users, weights)
    assert by_user.std() > 1.5 * delong(a, b, labels).standard_error
