"""What a sweep searches, from the sweeper's own settings and what is typed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.overrides import meant
from mdaf.sweeper.trials.points.space import checked_value, grid_points, meaning, wanted

PARAMS = {"dropout": "interval(0.15, 0.35)", "decay": "tag(log, interval(1e-5, 1e-4))"}


def test_the_sweepers_own_space_holds_where_nothing_is_typed() -> None:
    search = wanted(PARAMS, ["epochs=2"])
    assert search.space == {
        "dropout": FloatDistribution(0.15, 0.35),
        "decay": FloatDistribution(1e-5, 1e-4, log=True),
    }
    assert search.fixed == ["epochs=2"]


def test_what_is_typed_fixes_narrows_or_joins() -> None:
    search = wanted(PARAMS, ["dropout=0.2", "decay=interval(1,2)", "model=choice(a,b)", "+new=range(1,4)", "~old"])
    assert search.fixed == ["dropout=0.2", "~old"]
    assert search.space == {
        "decay": FloatDistribution(1, 2),
        "model": CategoricalDistribution(("a", "b")),
        "new": IntDistribution(1, 3),
    }


def test_a_parameter_that_the_config_lacks_keeps_its_plus() -> None:
    search = wanted({"+z": "choice(1,2)"}, ["++y=interval(0.0,1.0)"])
    assert search.overrides_of({"z": 1, "y": 0.5}) == ["+z=1", "++y=0.5"]


@pytest.mark.parametrize("other", ["x=0.5", "+x=0.5", "++x=0.5", "~x"])
def test_a_key_that_is_searched_and_set_is_refused_before_any_trial(other: str) -> None:
    with pytest.raises(UserError, match=r"^x: is searched and also set by"):
        wanted({}, ["x=interval(0.0,1.0)", other])


@pytest.mark.parametrize(
    "override",
    [
        "x=interval(1.0,0.5)",
        "x=tag(log,interval(0.0,1.0))",
        "x=range(5,5)",
        "x=range(1,5,0)",
        "x=glob(*)",
        "x=choice(true,2,1)",  # a study would record that 1 was tried where true was
        "x=0,0.0",
    ],
)
def test_a_space_that_makes_no_sense_is_one_line_that_names_it(override: str) -> None:
    with pytest.raises(UserError) as error:
        wanted({}, ["epochs=2", override])
    assert str(error.value).startswith(f"{override}: ")
    assert "\n" not in str(error.value)


def test_what_the_sweep_is_about_is_no_part_of_a_trial() -> None:
    typed = ["x=interval(0.0,1.0)", "sweep.workers=4", "sweep.force=true", "sweep.storage=journal:///s"]
    search = wanted({}, typed, ours=True)
    assert search.fixed == []
    assert search.own == ["sweep.force=true", "sweep.storage=journal:///s"]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("x=choice([1,2],[3])", [[1, 2], [3]]),
        ("x=choice({a:1},{a:2})", [{"a": 1}, {"a": 2}]),
        ("x=null,1", [None, 1]),
        ("x='it\\'s',''", ["it's", ""]),
        ("x=choice('a b',c)", ["a b", "c"]),
        ("x=true,false", [True, False]),
        ("x=choice(1e-5,3)", [1e-5, 3]),
    ],
)
def test_a_choice_reaches_the_job_as_it_was_typed(override: str, values: list[Any]) -> None:
    search = wanted({}, [override])
    distribution = search.space["x"]
    assert isinstance(distribution, CategoricalDistribution)
    found = [search.overrides_of({"x": choice})[0] for choice in distribution.choices]
    assert [OverridesParser.create().parse_override(text).value() for text in found] == values
    assert [meant(choice) for choice in distribution.choices] == values


def test_a_meaning_is_the_same_for_another_interval_and_another_for_another_kind() -> None:
    assert meaning(FloatDistribution(0, 1)) == meaning(FloatDistribution(0.2, 0.3)) == "float"
    assert meaning(FloatDistribution(0.1, 1, log=True)) == "float, log"
    assert meaning(IntDistribution(0, 4)) == "int"
    assert meaning(CategoricalDistribution((1, "a"))) == 'one of [1, "a"]'


def test_a_grid_holds_every_point_once_in_an_order_of_the_seed() -> None:
    space = wanted({}, ["x=range(1,4)", "y=choice(a,b)"]).space
    points = grid_points(space, seed=1)
    assert sorted((point["x"], point["y"]) for point in points) == [(x, y) for x in (1, 2, 3) for y in "ab"]
    assert points == grid_points(space, seed=1)
    assert points != grid_points(space, seed=2)


def test_a_grid_of_an_interval_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^y: a grid takes"):
        grid_points(wanted({}, ["x=choice(1,2)", "y=interval(0.0,1.0)"]).space, seed=1)


def test_nan_is_one_of_the_choices_that_hold_it() -> None:
    [space] = wanted({}, ["x=choice(0.5,nan)"]).space.values()
    assert math.isnan(checked_value("x", math.nan, space))
    assert checked_value("x", 0.5, space) == 0.5


@pytest.mark.parametrize(
    "params",
    [
        {"model": {"dropout": "interval(0.0,0.5)"}},
        {"model": {"head": {"dropout": "choice(0.1,0.2)"}}},
        {"params": {"model.dropout": "range(1,4)"}},
    ],
)
def test_a_parameter_that_is_written_below_another_key_is_refused_with_the_line_to_write(
    params: dict[str, Any],
) -> None:
    with pytest.raises(UserError, match=r"is not searched; write it in one line, model\.(head\.)?dropout: \w+\("):
        wanted(params, [])
    assert wanted({"model": {"dropout": 0.5}}, []).fixed == ["model={dropout:0.5}"]
