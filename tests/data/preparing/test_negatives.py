from __future__ import annotations

import numpy as np

from mdaf.data.preparing.negatives import NO_ITEM, Touched, draw_negatives


def test_no_negative_is_an_item_that_its_user_touched() -> None:
    generator = np.random.default_rng(0)
    user, item = generator.integers(20, size=300), generator.integers(40, size=300)
    touched = Touched.of(user, item)
    pairs = set(zip(user.tolist(), item.tolist(), strict=True))
    drawn = draw_negatives(1, item, user, np.arange(300), 4, touched)
    assert drawn.shape == (300, 4)
    assert not {(u, i) for u, row in zip(user.tolist(), drawn.tolist(), strict=True) for i in row} & pairs


def test_negatives_follow_the_pools_popularity() -> None:
    pool = np.repeat([1, 2], [900, 100])
    touched = Touched.of(np.array([0]), np.array([3]))
    drawn = draw_negatives(0, pool, np.zeros(5000, dtype=int), np.arange(5000), 4, touched)
    assert abs(np.mean(drawn == 1) - 0.9) < 0.01


def test_a_user_who_touched_all_but_one_item_is_given_that_one() -> None:
    pool = np.repeat(np.arange(50), 200)
    touched = Touched.of(np.zeros(49, dtype=int), np.arange(49))
    pool = np.append(pool[pool != 49], 49)
    assert (draw_negatives(0, pool, np.zeros(3, dtype=int), np.arange(3), 4, touched) == 49).all()


def test_a_user_who_touched_the_whole_pool_has_no_negative() -> None:
    touched = Touched.of(np.zeros(3, dtype=int), np.arange(3))
    drawn = draw_negatives(0, np.arange(3), np.zeros(2, dtype=int), np.arange(2), 4, touched)
    assert (drawn == NO_ITEM).all()


def test_what_is_drawn_for_a_positive_does_not_depend_on_the_others() -> None:
    touched = Touched.of(np.arange(9), np.arange(9))
    pool, user, positive = np.arange(9), np.arange(9), np.arange(100, 109)
    together = draw_negatives(5, pool, user, positive, 4, touched)
    alone = [draw_negatives(5, pool, user[n : n + 1], positive[n : n + 1], 4, touched) for n in range(9)]
    assert np.array_equal(together, np.concatenate(alone))


def test_another_stream_or_another_positive_draws_others() -> None:
    touched = Touched.of(np.zeros(1, dtype=int), np.zeros(1, dtype=int))
    pool, user = np.arange(1000), np.zeros(50, dtype=int)
    drawn = [
        draw_negatives(stream, pool, user, np.arange(50) + first, 4, touched)
        for stream, first in ((0, 0), (1, 0), (0, 50))
    ]
    assert (drawn[0] == drawn[1]).mean() < 0.05
    assert (drawn[0] == drawn[2]).mean() < 0.05
