from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdaf.data.inspecting.baselines import (
    COUNT,
    IN_HISTORY,
    POPULARITY,
    RECENCY,
    auc,
    oracle_auc,
    rule_aucs,
    rule_scores,
)
from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import EventStore
from tests.data.logs import ANCHOR, OTHER, VALIDATION, needs_real_log, user_behavior, write_rows


def test_rules_score_what_they_say(tmp_path: Path) -> None:
    seen = [(10, 1), (11, 2), (12, 1), (13, 3)]  # items and their categories, one a second
    log = [*ANCHOR, *OTHER, *((1, item, c, "pv", VALIDATION + n) for n, (item, c) in enumerate(seen))]
    log.append((1, 95, 1, "pv", VALIDATION + 9))
    log = [(u, i, 1 if i == 95 else c, b, t) for u, i, c, b, t in log]
    store = prepare(user_behavior(write_rows(tmp_path / "log.csv", log)), tmp_path / "stores")
    samples = store.samples["validation"]
    row = np.flatnonzero((samples.time == VALIDATION + 9) & (samples.label == 1))[0]
    assert store.vocabulary("item")[samples.static["item"][row] - FIRST_ID] == 95
    scores = {rule: values[row] for rule, values in rule_scores(store, "validation").items()}
    assert scores == {
        IN_HISTORY: False,
        COUNT: 2,
        RECENCY: -2,
        POPULARITY: 1,
    }  # seen two events ago; viewed once in training


def test_an_auc_of_one_kind_of_label_is_not_a_number() -> None:
    assert np.isnan(auc(np.ones(3), np.arange(3)))


def test_a_log_of_unknown_probability_has_no_oracle(tmp_path: Path) -> None:
    log = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER])
    assert oracle_auc(prepare(user_behavior(log), tmp_path / "stores"), "test") is None


@needs_real_log
@pytest.mark.parametrize(
    ("rule", "validation", "test"), [(COUNT, 0.844, 0.845), (RECENCY, 0.858, 0.858), (POPULARITY, 0.501, 0.501)]
)
def test_on_the_real_log_the_rules_reach_what_is_known_of_them(
    real_store: EventStore, rule: str, validation: float, test: float
) -> None:
    # Negatives are drawn: four for each of ten thousand positives leave a standard error of about 0.002.
    assert rule_aucs(real_store)[rule] == pytest.approx({"validation": validation, "test": test}, abs=0.006)
