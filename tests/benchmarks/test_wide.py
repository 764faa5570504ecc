"""The comparison of the wide sweep with the narrow one: what is read from reports, and what the tables say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.wide import KEYS, Winner, read_winner, tables


def report(winner: str, test: dict[int, float]) -> dict[str, Any]:
    runs = {f"r{seed}": {"best": {"val_auc": value - 0.01}, "test_auc": value} for seed, value in test.items()}
    sources = [{"id": f"r{seed}", "seed": seed, "stage": "phase 4", "point": winner} for seed in test]
    others = [{"id": "c", "seed": 1, "stage": "confirmation", "point": winner}]
    point = {"name": winner, "overrides": ["training.learning_rate=0.001"], "values": {"regularization.dropout": 0.2}}
    found = [{"value": 0.6}, {"value": 0.8}]
    inputs = {"winner": winner, "points": [point], "runs": sources + others}
    return {"inputs": inputs, "figures": {"runs": runs | {"c": {"test_auc": None}}, "search": found}}


def test_a_report_gives_the_winners_whole_point_and_its_values_of_phase_4(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report("winner", {42: 0.7, 123: 0.8})))
    found = read_winner(tmp_path)
    assert (found.name, found.found, found.test) == ("winner", 0.8, {42: 0.7, 123: 0.8})
    assert {key: value for key, value in found.point.items() if value is not None} == {
        "regularization.dropout": 0.2,
        "training.learning_rate": 0.001,
    }


def test_winners_are_compared_in_pairs_of_a_seed() -> None:
    narrow = {seed: 0.70 + 0.01 * seed for seed in range(5)}
    wide = {seed: value + 0.005 + 0.001 * (seed - 2) for seed, value in narrow.items()}
    nothing = dict.fromkeys(KEYS)
    winners = {
        ("regularization", 7): Winner("balanced", 0.7, nothing, narrow, narrow),
        ("regularization_wide", 7): Winner("winner", 0.8, nothing, wide, wide),
    }
    lines = list(tables(winners, [7]))
    assert "| 7 | `regularization` | 0.7000 | balanced: -, -, -, -, - | 0.7200 ± 0.0158 | 0.7200 ± 0.0158 |" in lines
    assert lines[-1] == "| 7 | +0.0050 [+0.0030, +0.0070] | +0.0050 [+0.0030, +0.0070] |"  # 2.776 * 0.00158 / sqrt(5)
