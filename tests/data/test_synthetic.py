from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from mdaf.data.inspecting.baselines import COUNT, RECENCY, auc, oracle_auc, rule_aucs, rule_scores
from mdaf.data.preparing.prepare import prepare
from mdaf.data.simulation import zipf_rank
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.errors import DataError
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


def learned_auc(store: EventStore, columns: list[int], rows: int) -> float:
    """Validation AUC of a forest on hand-made features, trained on ``rows`` samples."""
    train, validation = (features(store, split)[:, columns] for split in ("train", "validation"))
    chosen = np.random.default_rng(0).permutation(len(train))[:rows]
    model = RandomForestClassifier(40, max_depth=6, min_samples_leaf=5, random_state=0)
    model.fit(train[chosen], store.samples["train"].label[chosen])
    return auc(store.samples["validation"].label, model.predict_proba(validation)[:, 1])


def features(store: EventStore, split: str) -> np.ndarray:
    """Of each sample: how often the candidate's category occurs in the history, how long the history is; how recently
    the category occurred, and how often training clicked what has the same category after the same last one."""
    scores = rule_scores(store, split)
    rates = _pair_rates(store, "train")
    samples = store.samples[split]
    some = samples.end > store.user_offsets[samples.user]
    last = np.zeros(len(samples), dtype=int)
    last[some] = store.events["category"][samples.end[some] - 1]
    pairs = rates[last, samples.static["category"]]
    return np.column_stack([scores[COUNT], store.history_lengths(split), scores[RECENCY], pairs])


ORDER_BLIND, ORDER_AWARE = [0, 1], [0, 1, 2, 3]


def test_what_learns_from_order_passes_what_counts_and_neither_passes_the_oracle(larger_store: EventStore) -> None:
    blind, aware = (learned_auc(larger_store, columns, 10_000) for columns in (ORDER_BLIND, ORDER_AWARE))
    oracle = oracle_auc(larger_store, "validation")
    assert oracle is not None
    assert blind + 0.02 < aware < oracle


def test_with_more_data_a_model_rises_towards_the_oracle(larger_store: EventStore) -> None:
    aucs = [learned_auc(larger_store, ORDER_AWARE[:3], rows) for rows in (60, 600, 10_000)]
    oracle = oracle_auc(larger_store, "validation")
    assert oracle is not None
    assert aucs[0] + 0.01 < aucs[1] < aucs[2] < oracle


def test_earlier_views_give_every_sample_a_full_history(root: Path) -> None:
    store = prepare(synthetic(views_before=10, days_before=5), root)
    for split in SPLITS:
        assert (store.history_lengths(split) == 10).all()


def test_users_are_simulated_in_blocks_and_the_numbers_of_rows_stay_exact(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdaf.data.synthetic._USERS_AT_ONCE", 7)
    parts = list(synthetic().parts())
    assert len(parts) == 9
    users = [set(part.impressions["user"].to_list()) | set(part.events["user"].to_list()) for part in parts]
    assert all(not one & other for n, one in enumerate(users) for other in users[:n])
    store = prepare(synthetic(), root)
    assert store.manifest["counts"]["samples"] == {"train": 700, "validation": 200, "test": 200}
