"""The simulation of ways to decide a sweep: what must hold of it whatever the landscape."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import qmc

from benchmarks.racing import smac
from benchmarks.racing.__main__ import cells, read_options, repetitions_of
from benchmarks.racing.designs import DESIGNS, repetition
from benchmarks.racing.tables import false_on_flat, table
from benchmarks.racing.world import Cell, Outcome
from benchmarks.surrogates.bowls import KNOWN_POINTS, fitted
from benchmarks.surrogates.landscapes import BP, LANDSCAPES

DRAWN = qmc.Sobol(3, rng=1).random_base2(9)
QUIET = 0.5 * BP  # noise far below the differences of the fitted bowl


@pytest.mark.parametrize("name", LANDSCAPES)
def test_the_best_point_of_a_landscape_is_worth_nothing_and_no_other_is_worth_more(name: str) -> None:
    for repeated in range(3):
        truth = LANDSCAPES[name](np.random.default_rng(repeated)).truth
        values = truth(DRAWN)
        assert values.max() <= 1 * BP  # the best of 4,096 points is nearly the best of all
        assert values.max() > -12 * BP
        again = LANDSCAPES[name](np.random.default_rng(repeated)).truth(DRAWN)
        assert (values == again).all()


def test_the_fitted_landscape_is_the_surrogates_bowl() -> None:
    bowl = fitted()
    truth = LANDSCAPES["fitted"](np.random.default_rng(0)).truth
    corner = np.array([[0.0, 0.0, 0.35]])
    assert truth(corner)[0] == pytest.approx(0, abs=1e-12)
    assert bowl.best == pytest.approx(float(bowl._at(corner[0])))


@pytest.mark.parametrize("design", DESIGNS)
def test_with_hardly_any_noise_each_design_finds_a_better_point_and_says_so(design: str) -> None:
    outcome = repetition(Cell("fitted", QUIET, 0.0, 0.0), design, 0)
    assert outcome.better
    assert not outcome.false
    assert 0 <= outcome.regret < 12 * BP
    assert abs(outcome.optimism) < 3 * BP


def test_the_runs_that_a_design_spends_are_counted() -> None:
    cell = Cell("fitted", QUIET, 0.5, 0.0)
    assert repetition(cell, "racing 16, looks", 1).runs == 16 + 2 * 4  # the first look decides
    assert repetition(cell, "racing 32, 10 pairs", 1).runs == 32 + 2 * 10
    assert repetition(cell, "0.2: TPE 20, confirmation, four points on 5 seeds", 1).runs in (20 + 9 + 20, 20 + 12 + 20)


def test_a_repetition_is_the_same_whenever_it_is_run_and_no_point_of_a_flat_landscape_is_truly_better() -> None:
    cell = Cell("flat", 10 * BP, 0.5, 0.5)
    found = [repetition(cell, "racing 16, looks", number) for number in range(4)]
    assert found == [repetition(cell, "racing 16, looks", number) for number in range(4)]
    assert not any(outcome.better for outcome in found)
    assert all(outcome.regret == 0 for outcome in found)
    assert len({outcome.optimism for outcome in found}) == 4
    assert "| racing 16, looks |" in table(cell, {"racing 16, looks": found})


def options(*typed: str) -> argparse.Namespace:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["racing", *typed])
        return read_options()


def test_row_noise_is_simulated_on_the_landscapes_that_were_chosen_for_it_and_the_main_cells_more_often() -> None:
    chosen = options("--rows", "0", "0.5", "--common", "0", "--noises", "10", "25", "--rows-on", "flat")
    found = cells(chosen)
    assert {cell.landscape for cell in found if cell.rows} == {"flat"}
    assert {cell.landscape for cell in found if not cell.rows} == set(LANDSCAPES)
    often = [cell for cell in found if len(repetitions_of(cell, chosen)) == 400]
    assert often == [cell for cell in found if cell.landscape in ("fitted", "flat") and cell.noise == 10 * BP]
    assert {len(repetitions_of(cell, chosen)) for cell in found if cell not in often} == {100}


def test_a_false_better_is_pooled_over_all_flat_cells_with_row_noise_and_without() -> None:
    right, wrong = Outcome(30, 0.0, 0.0, False, False), Outcome(30, 0.0, 0.0, False, True)
    found = {
        Cell("flat", 10 * BP, 0.0, 0.0): {"a": [right] * 4},
        Cell("flat", 25 * BP, 0.0, 0.0): {"a": [wrong, right, right, right]},
        Cell("flat", 10 * BP, 0.0, 0.5): {"a": [wrong, wrong]},
        Cell("rough", 10 * BP, 0.0, 0.5): {"a": [wrong, wrong]},  # there a point may be truly better
    }
    head, _, row = false_on_flat(found).splitlines()[2:]
    assert head == "| design | no row noise | rows 0.5 | all |"
    assert row == "| a | 12.5 ± 11.7 % of 8 | 100.0 ± 0.0 % of 2 | 30.0 ± 14.5 % of 10 |"


FAKE_SMAC = """#!{python}
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    costs = []
    for point in asked["known"][: asked["runs"]]:
        print(json.dumps({{"run": point, "seed": asked["seed"]}}), flush=True)
        costs.append((json.loads(sys.stdin.readline()), point))
    print(json.dumps({{"incumbents": [point for _, point in sorted(costs, key=lambda one: one[0])]}}), flush=True)
"""


def test_a_search_in_another_environment_is_asked_for_runs_and_told_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python"
    other.write_text(FAKE_SMAC.format(python=sys.executable))
    other.chmod(0o755)
    monkeypatch.setenv(smac.PYTHON, str(other))
    smac._server.cache_clear()
    outcome = repetition(Cell("fitted", QUIET, 0.0, 0.0), "SMAC3 16, its incumbent, looks", 0)
    smac._server().stdin.close()  # type: ignore[union-attr]
    assert smac._server().wait(timeout=60) == 0
    smac._server.cache_clear()
    weak = fitted().best - fitted().value(KNOWN_POINTS[0])  # the best of the three that were tried
    assert outcome.regret == pytest.approx(weak, abs=1e-6)
    assert outcome.runs == 3 + 2 * 4
