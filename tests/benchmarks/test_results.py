"""The table of results: the design that all are tuned by, and what the tables say of figures."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from benchmarks.results.__main__ import main
from benchmarks.results.contenders import CONTENDERS, POINTS, REFERENCE
from benchmarks.results.tables import FIGURES, tables
from mdaf.sweeper.search.points.known_points import known_points
from mdaf.sweeper.trials.points.space import wanted


def test_every_contender_is_tuned_at_twelve_points_of_its_own_space_and_neural_ones_at_the_same() -> None:
    for contender in CONTENDERS.values():
        typed = [f"{key}={values}" for key, values in contender.space.items()]
        space = wanted({}, typed).space
        named = {f"p{n}": dict(zip(contender.space, point, strict=True)) for n, point in enumerate(contender.points)}
        assert len(known_points(named, space, OmegaConf.create({}), extended=False, tell=False)) == 12
        assert contender.points == POINTS or contender.name == "boosted"
    assert Counter(point[1] for point in POINTS) == {512: 6, 2048: 6}


def found(auc: float, more: float = 0.0) -> dict[str, Any]:
    seeds = [auc + more * seed for seed in (-2, -1, 0, 1, 2)]
    return {"chosen": [], "figures": {split: dict.fromkeys(FIGURES, seeds) for split in ("validation", "test")}}


def test_the_tables_rank_by_test_auc_and_give_paired_differences_their_interval_and_holms_p() -> None:
    whole, other = found(0.70, 0.001), found(0.69)
    results = {
        "tuning": {"din": [{"overrides": ["a.b=1", "c=x.y"], "value": 0.5}, {"overrides": ["a.b=2"], "value": 0.4}]},
        "contenders": {"din": other, REFERENCE: whole, f"{REFERENCE}, without the user's id": found(0.71, 0.001)},
        "rules": {"popularity": {"validation": 0.5, "test": 0.51}},
    }
    lines = list(tables(results))
    names = [line.split(" | ")[0] for line in lines]
    assert names.index(f"| {REFERENCE}") < names.index("| din") < names.index("| rule: popularity")
    difference = next(line for line in lines if line.startswith("| din | -"))
    assert difference.startswith("| din | -0.0100 [-0.0120, -0.0080] | 0.000 |")  # 2.776 * 0.00158 / sqrt(5)
    assert any(line.startswith(f"| {REFERENCE}, without the user's id | +0.0100 [+0.0100") for line in lines)
    assert lines[-1] == "| din | b=1, c=x.y | 0.5000 | 0.4500 | 0.4000 |"


def test_what_is_finished_is_not_repeated_and_must_have_had_the_same_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = {"epochs": 4, "points": 12, "tuning_seed": 7, "seeds": [42, 123, 456, 789, 2024]}
    held = {"budget": budget, "tuning": {}, "contenders": {"din": found(0.69)}}
    (tmp_path / "results.json").write_text(json.dumps(held))
    monkeypatch.setattr("sys.argv", ["results", "--folder", str(tmp_path), "--minutes", "0", "--only", "din"])
    main()
    assert "| din | 0.6900 ± 0.0000 |" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*sys.argv, "bst"])
    with pytest.raises(SystemExit, match="not finished: bst"):
        main()
    assert "not begun" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*sys.argv, "--epochs", "5"])
    with pytest.raises(SystemExit, match="another --folder"):
        main()
