"""A sweep override becomes the distribution that hydra-optuna-sweeper makes of it, without that package."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import HydraException
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.sweeper.hydra_ext.distributions import distribution_of, grid_values
from mdaf.sweeper.hydra_ext.overrides import parsed

DESCRIBED: dict[str, BaseDistribution] = {
    "choice(1,2.5,true,abc)": CategoricalDistribution([1, 2.5, True, "abc"]),
    "a,b": CategoricalDistribution(["a", "b"]),
    "sort(choice(3,1,2))": CategoricalDistribution([1, 2, 3]),
    "int(choice(1.5,2.5))": CategoricalDistribution([1, 2]),
    "range(4)": IntDistribution(0, 3),
    "range(1,10,3)": IntDistribution(1, 7, step=3),
    "range(10,1,-3)": IntDistribution(4, 10, step=3),
    "range(0.1,0.4,step=0.1)": FloatDistribution(0.1, 0.3, step=0.1),
    "range(-5.5,5.5,step=0.5)": FloatDistribution(-5.5, 5.0, step=0.5),
    "range(0,1,step=0.25)": FloatDistribution(0, 0.75, step=0.25),
    "range(1.0,0.0,step=-0.5)": FloatDistribution(0.5, 1.0, step=0.5),
    "shuffle(range(1,4))": CategoricalDistribution([1, 2, 3]),
    "shuffle(range(0.1,0.4,step=0.1))": CategoricalDistribution([0.1, 0.2, 0.3]),
    "range(1e16,1.0000000000000004e16,step=1)": CategoricalDistribution([1e16, 1e16, 1.0000000000000002e16, 1e16 + 4]),
    "interval(1,5)": FloatDistribution(1, 5),
    "int(interval(1,5))": IntDistribution(1, 5),
    "int(interval(1.9,5.9))": IntDistribution(1, 5),
    "float(interval(1,5))": FloatDistribution(1, 5),
    "tag(log,interval(1e-5,1e-1))": FloatDistribution(1e-5, 1e-1, log=True),
    "tag(log,int(interval(1,64)))": IntDistribution(1, 64, log=True),
    "tag(other,interval(1,2))": FloatDistribution(1, 2),
}
REFUSED = {
    "glob(*)": "expected choice",
    "range(3,3)": "the range is empty",
    "range(5,1)": "the range is empty",
    "range(1,2,0)": "the step of a range cannot be zero",
    "interval(0,inf)": "expected finite bounds",
    "interval(5,1)": "must hold",
    "tag(log,interval(0,1))": "must hold",
}


@pytest.mark.parametrize("text", DESCRIBED)
def test_an_override_becomes_the_distribution_that_it_describes(text: str) -> None:
    found = distribution_of(parsed(f"a={text}"))
    assert found == DESCRIBED[text]
    assert repr(found) == repr(DESCRIBED[text])


@pytest.mark.parametrize("text", REFUSED)
def test_what_describes_none_says_why(text: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[text]):
        distribution_of(parsed(f"a={text}"))


# ---- beside upstream's


def upstreams(text: str) -> BaseDistribution | None:
    """What upstream makes of a text; None where it refuses it."""
    upstream: Any = pytest.importorskip("hydra_plugins.hydra_optuna_sweeper._impl")
    try:
        found: BaseDistribution = upstream.create_optuna_distribution_from_override(parsed(f"a={text}"))
    except (ValueError, NotImplementedError, AssertionError, OverflowError):
        return None
    return found


def ours(text: str) -> BaseDistribution | None:
    try:
        return distribution_of(parsed(f"a={text}"))
    except ValueError:
        return None


@pytest.mark.parametrize("text", [*DESCRIBED, *REFUSED, "float(range(1,3))", "int(range(0.5,3.5))"])
def test_it_is_upstreams_distribution(text: str) -> None:
    if text == "interval(0,inf)":
        pytest.skip("upstream takes an infinite bound, which no sampler can draw from")
    found = ours(text)
    if isinstance(found, CategoricalDistribution) and "shuffle" in text:
        expected = upstreams(text)
        assert isinstance(expected, CategoricalDistribution)
        assert sorted(found.choices, key=str) == sorted(expected.choices, key=str)
    else:
        assert repr(found) == repr(upstreams(text))


numbers = st.one_of(st.integers(-50, 50), st.decimals(-5, 5, places=2).map(float), st.floats(-1e3, 1e3, width=32))
casts = st.sampled_from(["{}", "int({})", "float({})", "tag(log,{})", "tag(log,int({}))"])


@given(numbers, numbers, numbers, casts)
def test_any_range_and_interval_is_upstreams(start: float, stop: float, step: float, cast: str) -> None:
    assume(step == 0 or abs((stop - start) / step) < 1000)
    for text in (f"range({start},{stop},{step})", f"interval({start},{stop})"):
        text = cast.format(text)
        try:
            parsed(f"a={text}")
        except HydraException:
            continue
        found = ours(text)
        assert repr(found) == repr(upstreams(text)), text
        if found is not None:
            assert values_of_a_grid(found) == upstreams_grid(found)


def values_of_a_grid(distribution: BaseDistribution) -> list[Any] | None:
    try:
        return list(grid_values(distribution))
    except ValueError:
        return None


def upstreams_grid(distribution: BaseDistribution) -> list[Any] | None:
    upstream: Any = pytest.importorskip("hydra_plugins.hydra_optuna_sweeper._impl")
    try:
        return list(upstream.OptunaSweeperImpl._to_grid_sampler_choices(distribution))
    except ValueError:
        return None
