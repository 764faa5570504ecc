"""Draws negatives by popularity. The positive itself is excluded and nothing else.

What a user did before or does afterwards excludes nothing: were every item that a user ever touched excluded, then an
item of the history could only be a positive, and a model would score by noticing just that.

Each draw is a function of the stream, the positive's number, the column and the attempt, so it does not depend on
which positives share a call.
"""

from __future__ import annotations

import numpy as np

from mdaf.streams import draws

NO_ITEM = -1  # the pool holds nothing but the positive
_ROUNDS = 32  # of redrawing rejected items; the rest is then drawn from an exact list


def draw_negatives(stream: int, pool: np.ndarray, item: np.ndarray, positive: np.ndarray, count: int) -> np.ndarray:
    """``count`` items for each positive, each drawn from ``pool`` among those that are not its own, (positives, count).

    ``stream``    the seed of the stream to draw from.
    ``pool``      holds an item once for each of its views, so drawing an element draws by popularity.
    ``item``      the item of each positive, (positives,).
    ``positive``  the number of each positive, (positives,), unique.

    Draws are independent. If the pool holds no other item than the positive's, the items are ``NO_ITEM``.
    """
    number = positive.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(count, dtype=np.uint64)
    drawn = pool[_indices(stream, number, 0, len(pool))]
    row, column = np.nonzero(drawn == item[:, None])
    for attempt in range(1, _ROUNDS + 1):
        if not len(row):
            return drawn
        drawn[row, column] = pool[_indices(stream, number[row, column], attempt, len(pool))]
        rejected = drawn[row, column] == item[row]
        row, column = row[rejected], column[rejected]
    for own in np.unique(item[row]):  # the few items that are nearly all of the pool
        mine = item[row] == own
        left = pool[pool != own]
        if len(left):
            chosen = _indices(stream, number[row[mine], column[mine]], _ROUNDS + 1, len(left))
            drawn[row[mine], column[mine]] = left[chosen]
        else:
            drawn[row[mine], column[mine]] = NO_ITEM
    return drawn


def _indices(stream: int, number: np.ndarray, attempt: int, size: int) -> np.ndarray:
    """A random index in [0, ``size``) for each number."""
    return (draws(stream ^ (attempt << 48), number) % np.uint64(size)).astype(np.int64)
