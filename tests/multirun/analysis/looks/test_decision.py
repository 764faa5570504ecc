"""A question that is looked at: when it stops, and with which verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mdaf.multirun.analysis.looks.decision import LookPlan, look_at, make_looks

PLAN = LookPlan()
SEEDS = list(range(1, 11))
LOOKS = [SEEDS[:n] for n in PLAN.looks]


def differences(*values: float) -> dict[int, float]:
    return dict(zip(SEEDS, values, strict=False))


AHEAD = differences(*[0.010, 0.011, 0.009, 0.012, 0.010, 0.011, 0.009, 0.012, 0.010, 0.011])
NOISE = differences(*[0.010, -0.008, 0.006, -0.004, 0.003, -0.002, 0.004, -0.003, 0.005, -0.004])
BEHIND_A_LITTLE = differences(*[0.010, -0.008, 0.006, -0.012, 0.003, -0.012, 0.004, -0.003, 0.005, -0.004])


def test_a_clear_difference_is_better_at_the_first_look_and_worse_the_other_way_round() -> None:
    [look] = make_looks(AHEAD, LOOKS, PLAN)
    assert (look.n, look.verdict, look.stop) == (4, "better", "verdict")
    assert look.p is not None
    assert look.p < PLAN.level
    [look] = make_looks({seed: -value for seed, value in AHEAD.items()}, LOOKS, PLAN)
    assert look.verdict == "worse"


def test_a_difference_in_the_noise_is_looked_at_to_the_end() -> None:
    found = make_looks(NOISE, LOOKS, PLAN)
    assert [look.n for look in found] == [4, 6, 8, 10]
    assert [look.stop for look in found] == [None, None, None, "last look"]
    assert {look.verdict for look in found} == {"indistinguishable"}


def test_a_mean_that_is_not_positive_stops_at_six_pairs_unless_that_is_not_wanted() -> None:
    found = make_looks(BEHIND_A_LITTLE, LOOKS, PLAN)
    assert [(look.n, look.stop) for look in found] == [(4, None), (6, "futility")]
    went_on = make_looks(BEHIND_A_LITTLE, LOOKS, PLAN, all_made=True)
    assert [look.stop for look in went_on] == [None, None, None, "last look"]
    assert len(make_looks(BEHIND_A_LITTLE, LOOKS, LookPlan(futility=None))) == 4


def test_an_interval_within_the_margin_is_equivalent_and_without_a_margin_it_is_not() -> None:
    close = {seed: value / 100 for seed, value in NOISE.items()}
    [look] = make_looks(close, LOOKS, LookPlan(margin=0.001))
    assert (look.verdict, look.stop) == ("equivalent", "verdict")
    assert make_looks(close, LOOKS, PLAN)[-1].verdict == "indistinguishable"
    assert make_looks(NOISE, LOOKS, LookPlan(margin=0.001))[-1].verdict == "indistinguishable"
    small = {seed: value / 20 for seed, value in AHEAD.items()}  # a difference that is there and matters to nobody
    assert make_looks(small, LOOKS, LookPlan(margin=0.001))[-1].verdict == "equivalent"


def test_the_chance_of_which_users_were_there_takes_a_verdict_away() -> None:
    assert look_at(AHEAD, 4, PLAN, 0.006).verdict == "indistinguishable"
    assert look_at(AHEAD, 4, PLAN, 0.001).verdict == "better"
    close = {seed: value / 100 for seed, value in NOISE.items()}
    assert look_at(close, 4, LookPlan(margin=0.001), 0.0002).verdict == "equivalent"
    assert look_at(close, 4, LookPlan(margin=0.001), 0.0005).verdict == "indistinguishable"


def test_the_error_of_users_is_asked_for_only_where_it_could_change_an_answer_or_is_the_last_word() -> None:
    asked: list[int] = []

    def users(seeds: Sequence[int]) -> float:
        asked.append(len(seeds))
        return 0.0002

    found = make_looks(NOISE, LOOKS, PLAN, users)
    assert asked == [10]  # the seeds alone leave every earlier look open
    assert [look.users_error for look in found] == [None, None, None, 0.0002]
    assert found[-1].p == look_at(NOISE, 10, PLAN, 0.0002).p
    asked.clear()
    ahead = make_looks(AHEAD, LOOKS, PLAN, lambda seeds: 0.006 if users(seeds) else None)
    assert asked == [4, 6, 8, 10]  # each time the seeds say better, and the users take it away
    assert {look.verdict for look in ahead} == {"indistinguishable"}


def test_a_seed_that_failed_is_left_out_and_too_few_pairs_give_no_verdict() -> None:
    there = {seed: value for seed, value in AHEAD.items() if seed != 2}
    [look] = make_looks(there, LOOKS, PLAN)
    assert (look.seeds, look.n, look.planned, look.verdict) == ([1, 3, 4], 3, 4, "better")
    few = make_looks({1: 0.01, 2: 0.011}, LOOKS[:1], PLAN)
    assert (few[0].verdict, few[0].stop) == ("indistinguishable", None)
    assert make_looks({}, LOOKS[:1], PLAN)[0].mean is None


def test_differences_without_any_spread_are_no_evidence() -> None:
    same = dict.fromkeys(SEEDS, 0.01)
    assert make_looks(same, LOOKS, PLAN)[-1].verdict == "indistinguishable"


@pytest.mark.parametrize("looks", [(), (2, 4), (4, 4), (6, 4)])
def test_looks_that_are_none_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected rising numbers of pairs, 3 or more"):
        LookPlan(looks)


def test_rows_that_favour_a_configuration_do_not_raise_the_error_of_a_false_better() -> None:
    repetitions, pairs = 500, PLAN.looks[-1]
    rng = np.random.default_rng(3)

    def false_better(ratio: float, of_rows: float | None) -> float:
        """``ratio``: sd of what the rows do to a difference, over the sd of one pair."""
        drawn = rng.standard_normal((repetitions, pairs)) + ratio * rng.standard_normal((repetitions, 1))
        found = [make_looks(differences(*row), LOOKS, PLAN, lambda _: of_rows)[-1].verdict for row in drawn]
        return float(np.mean([verdict == "better" for verdict in found]))

    sampling = 2 * (0.025 * 0.975 / repetitions) ** 0.5
    assert false_better(0.5, 0.5) <= 0.025 + sampling
    assert false_better(1.0, 1.0) <= 0.025 + sampling
    assert false_better(0.5, None) > 0.025 + 2 * sampling  # the seeds alone
