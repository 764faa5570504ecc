"""Boosted trees as tensors score what scikit-learn's score, and travel like any other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch.nn import functional as F

from mdaf.model.boosted import Boosted, Trees
from mdaf.model.stack import load_replica, replica_state, stack
from tests.model.samples import SCHEMA, batch
from tests.model.zoo import part

SETTINGS = {"leaves": 7, "depth": 4, "samples_per_leaf": 5, "learning_rate": 0.2, "l2": 1.0, "rows": 10_000}


def samples(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """600 rows of five features, some missing, and labels that depend on them and on what is missing."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(600, 5)).astype(np.float32)
    x[:, 3] = draw.integers(0, 4, size=600)
    x[draw.random((600, 5)) < 0.2] = np.nan
    score = np.nan_to_num(x[:, 0]) + (x[:, 3] == 2) - 2 * np.isnan(x[:, 4])
    return torch.from_numpy(x), torch.from_numpy((score + draw.normal(size=600) > 0).astype(np.float32))


def fitted(trees: int = 6) -> tuple[HistGradientBoostingClassifier, torch.Tensor]:
    x, labels = samples()
    classifier = HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=7, max_depth=4, min_samples_leaf=5, early_stopping=False
    )
    return classifier.fit(x.numpy(), labels.numpy() > 0.5), x


def test_trees_score_what_the_classifier_scores_missing_features_included() -> None:
    classifier, x = fitted()
    trees = Trees(trees=9, leaves=7, depth=4)
    trees.set(classifier, features=5)
    expected = torch.from_numpy(classifier.decision_function(x.numpy())).float()
    torch.testing.assert_close(trees(x[None])[0], expected)


def test_a_feature_at_a_threshold_falls_on_the_side_that_the_classifier_sends_it_to() -> None:
    classifier, _ = fitted()
    thresholds = np.concatenate([p.nodes["num_threshold"] for (p,) in classifier._predictors]).astype(np.float32)
    finite = thresholds[np.isfinite(thresholds)]
    near = np.concatenate([finite, np.nextafter(finite, np.float32(9)), np.nextafter(finite, np.float32(-9))])
    rows = np.repeat(near[:, None], 5, axis=1)
    trees = Trees(trees=6, leaves=7, depth=4)
    trees.set(classifier, features=5)
    expected = torch.from_numpy(classifier.decision_function(rows)).float()
    torch.testing.assert_close(trees(torch.from_numpy(rows)[None])[0], expected)


def model() -> Boosted:
    """One fitted to random samples whose label is whether the history is longer than 3."""
    boosted = Boosted(SCHEMA, trees=8, **SETTINGS)
    lengths = torch.randint(0, 7, (1, 400), generator=torch.Generator().manual_seed(0))
    training = batch(lengths.tolist())
    boosted.count(training)
    boosted.fit(boosted.training_features(training)[0], (lengths[0] > 3).float(), share=1.0, seed=0)
    return boosted


def test_what_was_fitted_is_found_again_in_new_samples() -> None:
    logits = model()(batch([[6, 0, 5, 1]], seed=5)).logits
    assert logits[0, 0] > 0 > logits[0, 1]
    assert logits[0, 2] > 0 > logits[0, 3]


def test_fitting_in_parts_ends_where_fitting_at_once_does() -> None:
    x, labels = samples()
    at_once, in_parts = (Boosted(SCHEMA, trees=8, **SETTINGS) for _ in range(2))
    expected = at_once.fit(x, labels, 1.0, seed=0)
    for share in (0.25, 0.5):
        assert not torch.allclose(in_parts.fit(x, labels, share, seed=0), expected)
    torch.testing.assert_close(in_parts.fit(x, labels, 1.0, seed=0), expected)


def test_the_weights_are_plain_tensors_and_load_into_any_replica(tmp_path: Path) -> None:
    one = model()
    torch.save(replica_state(one, 0), tmp_path / "weights.pt")
    other = stack([Boosted(SCHEMA, trees=8, **SETTINGS) for _ in range(2)])
    load_replica(other, 1, torch.load(tmp_path / "weights.pt", weights_only=True))
    new = batch([[6, 0, 5], [6, 0, 5]], seed=5)
    logits = other(new).logits
    torch.testing.assert_close(logits[1:], one(part(new, 1)).logits)
    assert not logits[0].any()


def test_an_empty_history_and_padding_leave_the_score_finite_and_unchanged() -> None:
    boosted, tight = model(), batch([[3, 1, 0, 4]], length=4)
    wide = replace(tight, sequence={name: F.pad(ids, (0, 3)) for name, ids in tight.sequence.items()})
    logits = boosted(tight).logits
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(boosted(wide).logits, logits)


def test_a_training_samples_own_occurrence_is_not_part_of_its_popularity() -> None:
    boosted = Boosted(replace(SCHEMA, tables={**SCHEMA.tables, "item": 100}), trees=2, **SETTINGS)
    training = batch([[1, 1, 1]])
    training.static["item"][0] = torch.tensor([9, 9, 8])
    boosted.count(training)
    column = boosted.features.names.index("item popularity")
    assert boosted.training_features(training)[0, :, column].tolist() == [1, 1, 0]
    assert boosted.features(training, dict(boosted.popularity))[0, :, column].tolist() == [2, 2, 1]


def test_a_feature_that_no_training_sample_has_changes_no_score() -> None:
    x, labels = samples()
    never = torch.cat([x, torch.full((len(x), 1), torch.nan)], dim=1)
    expected, found = (Boosted(SCHEMA, trees=8, **SETTINGS).fit(part, labels, 1.0, seed=0) for part in (x, never))
    torch.testing.assert_close(found, expected)


def test_it_is_not_trained_by_gradient() -> None:
    assert not Boosted.by_gradient
    assert not any(parameter.requires_grad for parameter in Boosted(SCHEMA, trees=2, **SETTINGS).parameters())


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_there_is_at_least_one_tree(share: float) -> None:
    x, labels = samples()
    boosted = Boosted(SCHEMA, trees=8, **SETTINGS)
    assert boosted.fit(x, labels, share, seed=0).std() > 0
