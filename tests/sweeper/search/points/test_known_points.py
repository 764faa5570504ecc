"""Known points reach the study as what they are; those outside are left out, misspelt ones refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mdaf.errors import UserError
from mdaf.sweeper.search.points.known_points import known_points
from mdaf.sweeper.trials.points.space import wanted
from tests.sweeper.sphere import sweep

CONFIG = OmegaConf.create({"model": {"head": [8], "embedding": {"item": 4}}, "training": {"learning_rate": 1, "x": 1}})


def points(point: Any, *typed: str, extended: bool = False) -> list[tuple[str, dict[str, Any]]]:
    return known_points({"known": point}, wanted({}, typed).space, CONFIG, extended=extended, tell=True)


@pytest.mark.parametrize(
    ("typed", "value", "recorded"),
    [
        ("x=choice(a,b)", "b", "b"),
        ("x=choice('[UNK]',b)", "[UNK]", "'[UNK]'"),
        ("x='null',null,1", "null", "'null'"),
        ("x='null',null,1", None, "null"),
        ("x=choice([8],[16,8])", [16, 8], "[16,8]"),
        ("x=choice([8],[16,8])", "[16,8]", "[16,8]"),  # as the study shows it
        ("x=choice({a: 1},{a: 2})", {"a": 2}, "{a:2}"),
        ("x=choice('1',1,'true')", "1", "1"),
        ("x=choice('1',1,'true')", 1, 1),
        ("x=choice('1','true',true)", True, True),
        ("x=choice(0.1,0.3)", 0.3, 0.3),
        ('x=choice("${p.y}",z)', "${p.y}", "${p.y}"),
        ("x=interval(0.0,1.0)", 1, 1.0),
        ("x=int(interval(1,5))", 2.0, 2),
        ("x=range(0,10,5)", 5, 5),
        ("+x=choice(4,8)", 8, 8),
    ],
)
def test_a_value_of_any_type_of_choice_can_be_known(typed: str, value: Any, recorded: Any) -> None:
    [(name, point)] = points({"x": value}, typed)
    assert (name, point) == ("known", {"x": recorded})
    assert type(point["x"]) is type(recorded)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("x=choice(0.1,0.3)", 0.2),
        ("x=choice(a,b)", "c"),
        ("x=choice([8],[16,8])", [16]),
        ("x=choice(1,2)", True),
        ("x=interval(0.0,1.0)", 1.1),
        ("x=interval(0.0,1.0)", "0.5"),
        ("x=interval(0.0,1.0)", None),
        ("x=int(interval(1,5))", 2.5),
        ("x=range(0,11,5)", 4),
    ],
)
def test_a_point_outside_is_left_out_and_said_so(typed: str, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert points({"x": value}, typed) == []
    assert f"the known point known lies outside the space at x={value!r} and is left out" in caplog.text


def test_a_misspelt_key_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(
        UserError, match=r"^hydra\.sweeper\.enqueue\.known\.training\.lr: .*mean training\.learning_rate\?"
    ):
        points({"training.lr": 1}, "training.learning_rate=interval(0.0,1.0)")
    with pytest.raises(UserError, match=r"enqueue\.known: found 3, expected a mapping"):
        points(3, "x=choice(1,2)")


def test_a_point_may_be_written_in_nodes_and_a_key_that_is_not_searched_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    typed = ("training.learning_rate=interval(0.0,1.0)", "model.embedding=choice({item: 4},{item: 8})")
    point = {"training": {"learning_rate": 0.5, "x": 3}, "model.embedding": {"item": 8}}
    assert points(point, *typed) == [("known", {"training.learning_rate": 0.5, "model.embedding": "{item:8}"})]
    assert "is tried without training.x, which is not searched" in caplog.text


def test_a_parameter_that_the_sweeps_own_function_suggests_is_kept() -> None:
    assert points({"x": 1, "w": 0.5}, "x=choice(1,2)", extended=True) == [("known", {"x": 1, "w": 0.5})]


def test_only_the_enqueued_points_are_run_each_with_its_own_parameters_and_no_others(tmp_path: Path) -> None:
    points = "hydra.sweeper.enqueue={both: {x: 0.5, seed: 3}, one: {y: 2, seed: 4}, failing: {x: 0.25, error: true}}"
    space = ("x=interval(0.0,1.0)", "y=interval(0.0,5.0)", "seed=int(interval(0,9))", "error=choice(true,false)")
    settings = ("hydra.sweeper.only_enqueued=true", "hydra.sweeper.n_trials=9", "hydra.sweeper.max_failure_rate=1")
    swept = sweep(tmp_path, points, *settings, *space)
    ran = [(trial.state.name, trial.params) for trial in swept.study.trials]
    assert ran == [
        ("COMPLETE", {"x": 0.5, "seed": 3}),
        ("COMPLETE", {"y": 2.0, "seed": 4}),
        ("FAIL", {"x": 0.25, "error": True}),
    ]
    assert [(swept.jobs[number].x, swept.jobs[number].y) for number in range(2)] == [(0.5, 1), (1, 2.0)]
