from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data.errors import DataError
from data.prepare import prepare
from data.rules import COUNT, RECENCY, oracle_auc, rule_aucs
from data.simulation import zipf_rank
from data.store import SPLITS, EventStore
from tests.data.logs import synthetic

LARGER = {"users": 400, "items": 1000, "categories": 30, "views": 8000, "length": 20}
ROWS = {"train_rows": 10_000, "validation_rows": 8000, "test_rows": 4000}


@pytest.fixture(scope="module")
def larger_store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    return prepare(synthetic(**LARGER, **ROWS), tmp_path_factory.mktemp("larger"))


def test_it_has_as_many_rows_as_the_config_asks_for(synthetic_store: EventStore) -> None:
    assert synthetic_store.manifest["counts"]["samples"] == {"train": 700, "validation": 200, "test": 200}


def test_clicks_are_drawn_with_the_probabilities_that_are_stored(larger_store: EventStore) -> None:
    probability = np.concatenate([larger_store.samples[split].probability for split in SPLITS])
    label = np.concatenate([larger_store.samples[split].label for split in SPLITS])
    for part in np.array_split(np.argsort(probability), 8):  # calibrated at every level
        error = np.sqrt(np.sum(probability[part] * (1 - probability[part]))) / len(part)
        assert abs(label[part].mean() - probability[part].mean()) < 4 * error
    assert abs(label.mean() - 0.25) < 0.03


def test_the_oracle_passes_the_rules_and_a_rule_that_reads_order_passes_one_that_counts(
    larger_store: EventStore,
) -> None:
    rules = rule_aucs(larger_store)
    for split in ("validation", "test"):
        oracle = oracle_auc(larger_store, split)
        assert oracle is not None
        assert 0.8 < oracle < 0.87
        assert oracle > rules[RECENCY][split] > rules[COUNT][split] + 0.01 > 0.6


def test_what_succeeds_the_last_category_is_clicked_more_often_than_what_does_not(larger_store: EventStore) -> None:
    # Told from the log alone, by the click rate of each (category seen last, candidate's category) in training.
    rates = _pair_rates(larger_store, "train")
    last, candidate, label = _pairs(larger_store, "validation")
    differ = last != candidate
    score = rates[last, candidate]
    assert roc_auc_score(label[differ], score[differ]) > 0.6


def _pairs(store: EventStore, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    samples = store.samples[split]
    some = samples.end > store.user_offsets[samples.user]
    last = store.events["category"][samples.end[some] - 1]
    return last, samples.static["category"][some], samples.label[some]


def _pair_rates(store: EventStore, split: str) -> np.ndarray:
    last, candidate, label = _pairs(store, split)
    size = store.schema.tables["category"] + 1
    shown, clicked = np.full((size, size), 4.0), np.full((size, size), 1.0)
    np.add.at(shown, (last, candidate), 1)
    np.add.at(clicked, (last, candidate), label)
    return clicked / shown


def test_the_same_settings_give_the_same_log_and_another_seed_another() -> None:
    logs = [synthetic(seed=seed).generate() for seed in (0, 0, 1)]
    assert logs[0].events.equals(logs[1].events)
    assert logs[0].impressions.equals(logs[1].impressions)
    assert not logs[0].events.equals(logs[2].events)


def test_a_click_leaves_a_view_and_an_ignored_impression_leaves_none() -> None:
    log = synthetic().generate()
    views = {row[:2] + row[4:] for row in log.events.iter_rows() if row[3] == "pv"}
    for row in log.impressions.select("user", "item", "time", "label").iter_rows():
        assert (row[:3] in views) == bool(row[3])


def test_an_item_has_one_category() -> None:
    log = synthetic().generate()
    assert log.events.group_by("item").n_unique()["category"].max() == 1


def test_low_ranks_are_drawn_most() -> None:
    ranks = zipf_rank(np.random.default_rng(0).random(20_000), 50)
    counts = np.bincount(ranks, minlength=50)
    assert counts.argmax() == 0
    assert (counts > 0).all()
    assert counts[0] > 3 * counts[9]


@pytest.mark.parametrize(
    ("setting", "value"), [("items", 3), ("click_rate", 1.0), ("length", 0), ("start", "soon"), ("min_count", {"x": 1})]
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_key(setting: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"data\.{setting}"):
        synthetic(**{setting: value})
