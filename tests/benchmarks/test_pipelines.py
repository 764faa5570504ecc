"""Pipelines side by side: what is read from their reports, and what the tables say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pipelines import KEYS, Outcome, read_outcome, tables

SEEDS = (42, 123)


def report(winner: str, decided: dict[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys((winner, "balanced"))
    cells = [(name, seed) for name in names for seed in SEEDS]
    runs = {
        f"{name}{seed}": {"best": {"val_auc": 0.6}, "test_auc": 0.7 if name == "winner" else 0.5}
        for name, seed in cells
    }
    sources = [{"id": f"{name}{seed}", "seed": seed, "stage": "phase 4", "point": name} for name, seed in cells]
    sources += [{"id": "", "seed": 1, "stage": stage, "point": winner} for stage in ("search", "confirmation")]
    points = [
        {"name": name, "overrides": ["training.learning_rate=0.001"], "values": {"regularization.dropout": 0.2}}
        for name in names
    ]
    inputs = {"winner": winner, "points": points, "runs": sources, "trials": [{}, {}, {}]}
    return {"inputs": inputs, "figures": {"runs": runs, **decided}}


@pytest.mark.parametrize(
    ("decided", "verdict", "deployed"),
    [
        ({"decision": {"verdict": "better"}, "comparisons": []}, "better", "winner"),
        ({"comparisons": [{"verdict": "indistinguishable"}]}, "indistinguishable", "balanced"),
    ],
    ids=["looks", "version 0.1"],
)
def test_a_report_gives_the_winners_whole_point_what_was_spent_and_what_is_deployed(
    tmp_path: Path, decided: dict[str, Any], verdict: str, deployed: str
) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report("winner", decided)))
    found = read_outcome(tmp_path)
    assert (found.winner, found.verdict, found.deployed) == ("winner", verdict, deployed)
    assert found.runs == {"search": 3, "phase 4": 4, "confirmation": 1}
    assert found.test == {"winner": dict.fromkeys(SEEDS, 0.7), "balanced": dict.fromkeys(SEEDS, 0.5)}
    assert {key: value for key, value in found.point.items() if value is not None} == {
        "regularization.dropout": 0.2,
        "training.learning_rate": 0.001,
    }


def test_where_the_winner_is_balanced_there_is_no_verdict_and_it_is_deployed(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report("balanced", {"comparisons": []})))
    found = read_outcome(tmp_path)
    assert (found.verdict, found.deployed) == (None, "balanced")


def test_winners_are_compared_in_pairs_of_a_seed() -> None:
    narrow = {seed: 0.70 + 0.01 * seed for seed in range(5)}
    wide = {seed: value + 0.005 + 0.001 * (seed - 2) for seed, value in narrow.items()}
    nothing: dict[str, float | None] = dict.fromkeys(KEYS)
    runs = {"search": 30, "confirmation": 12, "phase 4": 10}
    outcomes = {
        ("narrow", 7): Outcome("balanced", nothing, runs, None, {"balanced": narrow}, {"balanced": narrow}),
        ("wide", 7): Outcome("winner", nothing, runs, "better", {"winner": wide}, {"winner": wide}),
    }
    lines = list(tables(outcomes))
    assert (
        "| narrow | 7 | 30 + 12 + 10 | balanced: -, -, -, -, - | 0.7200 ± 0.0158 | 0.7200 ± 0.0158 |  "
        "| balanced 0.7200 |"
    ) in lines
    expected = "+0.0050 [+0.0030, +0.0070]"  # 2.776 * 0.00158 / sqrt(5)
    assert lines[-1] == f"| 7 | wide | narrow | {expected} | {expected} |"
