"""Success criteria: PASS, FAIL, PENDING, and what follows."""

from __future__ import annotations

import pytest

from mdaf.conf.schema import Criteria
from mdaf.data.inspecting.trivial_rules import TrivialRules
from mdaf.sweeper.job.criteria import decide, judge
from mdaf.sweeper.job.summary import summarize

RESEARCH = Criteria(
    min_val_auc=0.575, first_best_epoch=2, last_best_epoch=4, max_train_val_gap=0.20, max_train_auc=0.75, epoch=5
)
PHASE_1 = [(0.5410, 0.5829), (0.6942, 0.5703), (0.7932, 0.5567), (0.8500, 0.5518), (0.8848, 0.5513)]
HEALTHY = [(0.55, 0.570), (0.60, 0.580), (0.63, 0.582), (0.65, 0.581), (0.67, 0.579)]


def history(aucs: list[tuple[float, float]]) -> list[dict[str, float | int | None]]:
    """Epochs with these training and validation AUCs."""
    return [
        {
            "epoch": number,
            "train_loss": 0.2,
            "train_auc": train,
            "val_loss": 0.2,
            "val_auc": validation,
            "val_gauc": validation,
            "train_val_gap": train - validation,
            "gate_mean": None,
            "epoch_seconds": 1.0,
        }
        for number, (train, validation) in enumerate(aucs, 1)
    ]


@pytest.mark.parametrize(
    ("aucs", "planned", "verdicts", "said"),
    [
        (PHASE_1, 5, ["PASS", "FAIL", "FAIL", "FAIL"], "regularize more"),
        (HEALTHY, 5, ["PASS", "PASS", "PASS", "PASS"], "Phase 4"),
        ([(0.5265, 0.5814)], 5, ["PASS", "PENDING", "PENDING", "PENDING"], "complete the run"),
        ([(0.51, 0.55)] * 5, 5, ["FAIL", "FAIL", "PASS", "PASS"], "regularize less"),
        ([(0.51, 0.55)], 5, ["PENDING", "PENDING", "PENDING", "PENDING"], "complete the run"),
    ],
    ids=["phase 1 overfits", "a healthy run", "the balanced point's one epoch", "underfits", "too early to say"],
)
def test_a_trajectory_is_judged_by_the_researchs_criteria(
    aucs: list[tuple[float, float]], planned: int, verdicts: list[str], said: str
) -> None:
    judged = judge(history(aucs), planned, RESEARCH)
    assert [j.verdict for j in judged] == verdicts
    assert decide(judged).next_step == said


def test_the_summary_holds_every_epoch_and_every_verdict() -> None:
    text = summarize({"seed": 42, "dropout": 0.2}, history(PHASE_1), 5, RESEARCH)
    for part in ("seed             42", "0.5829", "0.8848", "FAIL     training AUC < 0.75 at epoch 5: 0.8848"):
        assert part in text


def test_a_summary_names_trivial_rules_and_says_where_the_run_is_below_the_best() -> None:
    rules = TrivialRules({"category recency": 0.86, "popularity": 0.6}, 1234)
    text = summarize({"seed": 42}, history(PHASE_1), 5, None, rules=rules)
    assert "Validation AUC of trivial rules, on 1,234 rows" in text
    assert "This run: 0.58, below 0.86 that recency of category reaches: not learning yet" in text
    assert "left out, events and candidates have no item in common" in text
    assert "riteria" not in text
    beaten = summarize({"seed": 42}, history(PHASE_1), 5, None, rules=TrivialRules({"popularity": 0.58}, 9))
    assert "not learning yet" not in beaten
