from __future__ import annotations

import numpy as np

from mdaf.data.preparing.negatives import NO_ITEM, draw_negatives


def test_a_negative_is_any_item_of_the_pool_but_the_positive_itself() -> None:
    item = np.random.default_rng(0).integers(20, size=2000)
    drawn = draw_negatives(1, item, item, np.arange(2000), 4)
    assert drawn.shape == (2000, 4)
    pairs = {(own, other) for own, row in zip(item.tolist(), drawn.tolist(), strict=True) for other in row}
    assert pairs == {(own, other) for own in range(20) for other in range(20) if own != other}


def test_negatives_follow_the_pools_popularity() -> None:
    pool = np.repeat([1, 2, 3], [800, 100, 100])
    drawn = draw_negatives(0, pool, np.full(5000, 3), np.arange(5000), 4)
    assert abs(np.mean(drawn == 1) - 8 / 9) < 0.01
    assert not (drawn == 3).any()


def test_beside_a_positive_that_is_nearly_all_of_the_pool_the_rest_is_drawn() -> None:
    pool = np.append(np.zeros(100_000, dtype=int), 7)
    assert (draw_negatives(0, pool, np.array([0, 7, 0]), np.arange(3), 4) == [[7], [0], [7]]).all()


def test_a_positive_that_is_all_of_the_pool_has_no_negative() -> None:
    drawn = draw_negatives(0, np.full(9, 5), np.array([5, 6]), np.arange(2), 4)
    assert (drawn == [[NO_ITEM], [5]]).all()


def test_what_is_drawn_for_a_positive_does_not_depend_on_the_others() -> None:
    pool, item, positive = np.arange(9), np.arange(9), np.arange(100, 109)
    at_once = draw_negatives(5, pool, item, positive, 4)
    alone = [draw_negatives(5, pool, item[n : n + 1], positive[n : n + 1], 4) for n in range(9)]
    assert np.array_equal(at_once, np.concatenate(alone))


def test_another_stream_or_another_positive_draws_others() -> None:
    pool, item = np.arange(1000), np.zeros(50, dtype=int)
    drawn = [
        draw_negatives(stream, pool, item, np.arange(50) + first, 4) for stream, first in ((0, 0), (1, 0), (0, 50))
    ]
    assert (drawn[0] == drawn[1]).mean() < 0.05
    assert (drawn[0] == drawn[2]).mean() < 0.05
