"""Which jobs each process trains."""

from __future__ import annotations

import pytest

from mdaf.multirun.launching.shares import shares


def sizes(*kinds: int, processes: int) -> list[int]:
    """How many jobs each process gets of groups with so many jobs."""
    given = shares([str(kind) for kind, count in enumerate(kinds) for _ in range(count)], processes)
    return sorted(map(len, given), reverse=True)


@pytest.mark.parametrize(
    ("seeds", "processes", "expected"),
    [(10, 2, [5, 5]), (5, 4, [2, 2, 1]), (40, 8, [5] * 8), (3, 8, [1, 1, 1]), (7, 1, [7])],
)
def test_seeds_of_one_configuration_are_cut_evenly(seeds: int, processes: int, expected: list[int]) -> None:
    assert sizes(seeds, processes=processes) == expected


def test_groups_stay_whole_where_that_ends_no_later() -> None:
    given = shares(["a"] * 5 + ["b"] * 5, 2)
    assert given == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_a_group_is_cut_where_the_others_would_wait_for_it() -> None:
    assert sizes(5, 5, 5, processes=2) == [8, 7]
    assert sizes(4, 2, processes=2) == [4, 2]  # a third group would cost more
    assert sizes(20, 2, processes=2) == [12, 10]
    assert shares(["alone 0", "alone 1", "alone 2"], 2, of_a_group=0) == [[0, 2], [1]]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_job_is_in_one_share_in_order_and_the_first_share_has_the_first_job(processes: int) -> None:
    kinds = ["a", "b", "a", "c", "a", "a", "b", "a", "a"]
    given = shares(kinds, processes)
    assert sorted(number for share in given for number in share) == list(range(len(kinds)))
    assert given[0][0] == 0
    assert all(share == sorted(share) for share in given)
