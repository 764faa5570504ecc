"""Criteria, tiers and decisions: on the research's own record, and case by case."""

from __future__ import annotations

from itertools import product

import pytest

from mdaf.multirun.analysis.deltas import delta_table, ranking
from mdaf.multirun.analysis.judging.criteria import assess, tier_of
from mdaf.multirun.analysis.judging.validity import Evidence, analyses, share_of_plan, sufficiency
from mdaf.multirun.report.rendering.blocks import Text
from mdaf.multirun.report.sections import evidence as sections
from mdaf.sweeper.job.criteria import Judgement, Verdict
from mdaf.sweeper.job.summary import summarize
from mdaf.sweeper.runs.metric_columns import COLUMNS
from tests.multirun.record import CRITERIA, PHASE_1, PHASE_1_SEED_42, PHASE_3, REVISED, TIERS, epoch


def test_the_records_delta_tables_come_out() -> None:
    against_1 = {row.metric: row for row in delta_table(PHASE_1, REVISED)}
    assert against_1["val_auc"].delta == pytest.approx(-0.0015)
    assert against_1["val_auc"].delta_percent == pytest.approx(-0.257, abs=1e-3)
    assert against_1["train_auc"].delta == pytest.approx(-0.0145)
    assert against_1["train_val_gap"].delta == pytest.approx(-0.0130)
    assert against_1["train_loss"].delta_percent == pytest.approx(35.26, abs=1e-2)
    assert against_1["gate_mean"].delta == pytest.approx(-0.1182)
    against_3 = {row.metric: row for row in delta_table(PHASE_3, REVISED)}
    assert against_3["val_auc"].delta == pytest.approx(0.0116)
    assert against_3["val_auc"].delta_percent == pytest.approx(2.036, abs=1e-3)
    assert against_3["train_loss"].delta is None  # the record has no such figure of Phase 3


def test_the_records_ranking_comes_out() -> None:
    rows = ranking({"Phase 3": PHASE_3["val_auc"], "Phase 1": PHASE_1["val_auc"], "Revised": REVISED["val_auc"]})
    assert [(row.name, round(row.percent_of_best, 1)) for row in rows] == [
        ("Phase 1", 100.0),
        ("Revised", 99.7),
        ("Phase 3", 97.8),
    ]


def test_the_balanced_points_one_epoch_is_tier_one_and_a_half() -> None:
    found = assess([REVISED], planned=5, criteria=CRITERIA, tiers=TIERS)
    assert [judgement.verdict for judgement in found.judgements] == ["PASS", "PENDING", "PENDING", "PENDING"]
    assert found.tier == "1.5"
    assert found.decision == "complete the run"


def test_one_epoch_of_one_seed_is_statistically_insufficient() -> None:
    evidence = Evidence(epochs=1, epochs_planned=5, seeds=1, seeds_planned=5)
    assert share_of_plan(evidence) == pytest.approx(0.04)
    assert sufficiency(analyses(evidence)) == "statistically insufficient"
    invalid = {analysis.name for analysis in analyses(evidence) if not analysis.valid}
    assert {"best epoch", "overfitting trajectory", "mean over seeds", "variance over seeds"} <= invalid
    assert "significance by the paired t-test" in invalid


def test_the_whole_plan_is_sufficient_and_four_seeds_are_not() -> None:
    assert sufficiency(analyses(Evidence(5, 5, 5, 5, pairs=[5, 5]))).startswith("complete")
    four = {analysis.name for analysis in analyses(Evidence(5, 5, 4, 5, pairs=[5, 4])) if not analysis.valid}
    assert four == {"comparison over all planned seeds"}


def test_one_configuration_alone_is_no_evidence_for_any_comparison() -> None:
    found = analyses(Evidence(5, 5, 5, 5, pairs=[]))
    assert sufficiency(found) == "statistically insufficient"
    wrong = {analysis.name: analysis.why for analysis in found if not analysis.valid}
    assert set(wrong) == {"significance by the paired t-test", "comparison over all planned seeds"}
    assert set(wrong.values()) == {"there is no pair of configurations, so nothing is compared"}


def test_several_runs_are_judged_by_the_best_epochs_that_the_headline_has() -> None:
    """Each run is at its best in another epoch, so the mean curve never reaches the mean of the best values."""
    runs = [[epoch(n, 0.6, 0.60 if n == best else 0.57) for n in range(1, 6)] for best in (2, 3, 4)]
    curve = [epoch(n, 0.6, sum(run[n - 1]["val_auc"] for run in runs) / 3) for n in range(1, 6)]
    bests = [max(run, key=lambda row: row["val_auc"]) for run in runs]
    found = assess(curve, planned=5, criteria=CRITERIA, tiers=TIERS, bests=bests)
    assert found.judgements[0].figures == "0.6000 in epoch 3"
    assert assess(curve, planned=5, criteria=CRITERIA, tiers=TIERS).judgements[0].figures.startswith("0.58")


def test_phase_1_fails_by_overfitting_so_it_is_regularized_more() -> None:
    found = assess(PHASE_1_SEED_42, planned=5, criteria=CRITERIA, tiers=TIERS)
    assert [judgement.verdict for judgement in found.judgements] == ["PASS", "FAIL", "FAIL", "FAIL"]
    assert (found.tier, found.decision) == ("3", "regularize more")
    assert "+0.3335 at epoch 5, above" in found.gap


def test_phase_3s_one_epoch_is_too_little_to_judge() -> None:
    found = assess([PHASE_3], planned=15, criteria=CRITERIA, tiers=TIERS)
    assert found.judgements[0].verdict == "PENDING"
    assert found.tier == "3"


def test_a_run_that_meets_everything_goes_to_phase_4() -> None:
    history = [epoch(n, 0.6 + 0.01 * n, 0.58 + 0.01 * min(n, 6 - n)) for n in range(1, 6)]
    found = assess(history, planned=5, criteria=CRITERIA, tiers=TIERS)
    assert (found.tier, found.decision) == ("1", "Phase 4")


def test_an_underfitting_run_is_regularized_less() -> None:
    history = [epoch(n, 0.55, 0.55 + 0.001 * n - 0.01 * (n == 5)) for n in range(1, 6)]
    assert assess(history, planned=5, criteria=CRITERIA, tiers=TIERS).decision == "regularize less"


def test_a_runs_summary_and_a_report_say_the_same_for_all_81_combinations_of_verdicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words: tuple[Verdict, ...] = ("PASS", "FAIL", "PENDING")
    row = dict.fromkeys(COLUMNS, 0.55) | {"epoch": 1}
    said = set()
    for verdicts in product(words, repeat=4):
        judged = [Judgement(name, verdict, "") for name, verdict in zip("abcd", verdicts, strict=True)]
        for module in ("mdaf.sweeper.job.summary", "mdaf.multirun.analysis.judging.criteria"):
            monkeypatch.setattr(f"{module}.judge", lambda *_, judged=judged: judged)
        decision = summarize({}, [row], 3, CRITERIA).rstrip().splitlines()[-1].strip()
        blocks = sections.criteria_blocks({"weak": assess([row], 3, CRITERIA, TIERS)})
        [*_, text] = [block.text for block in blocks if isinstance(block, Text)]
        assert text.endswith(f"What follows: {decision}")
        said.add(decision.partition(".")[0])
    assert said == {"Phase 4", "regularize more", "regularize less", "complete the run", "look at the trajectory"}


def test_a_run_of_few_planned_epochs_is_completed_before_it_is_regularized_less() -> None:
    history = [epoch(n, 0.52, 0.55) for n in range(1, 4)]
    assert assess(history, planned=3, criteria=CRITERIA, tiers=TIERS).decision == "complete the run"


@pytest.mark.parametrize(
    ("verdicts", "best", "tier"),
    [
        ("PASS PASS PASS PASS", 0.58, "1"),
        ("PASS PASS PENDING PASS", 0.58, "1.5"),
        ("PASS FAIL PASS PASS", 0.58, "2"),
        ("PASS FAIL PENDING PENDING", 0.58, "2"),
        ("PASS FAIL FAIL PASS", 0.58, "3"),
        ("FAIL PASS PASS PASS", 0.5701, "2"),
        ("FAIL PASS PASS PASS", 0.5699, "3"),
        ("FAIL FAIL PASS PASS", 0.5701, "3"),
        ("PENDING PENDING PENDING PENDING", 0.5701, "3"),
    ],
)
def test_each_tier_has_its_rule(verdicts: str, best: float, tier: str) -> None:
    judgements = [Judgement(str(n), verdict, "") for n, verdict in enumerate(verdicts.split())]  # type: ignore[arg-type]
    assert tier_of(judgements, best, CRITERIA, TIERS) == tier
