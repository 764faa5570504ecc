"""Draws negatives by popularity. Only the positive item itself is excluded.

The pool is the caller's: ``mdaf.data.preparing.next_click`` has one for each local day and split.

Other items of the same user are not excluded. If they were, an item of the history could only be a positive, and a
model could score well by recognizing that alone.

Each draw is a function of the stream, the positive's number, the column and the attempt. So it does not depend on which
positives are in the same call.
"""

from __future__ import annotations

import numpy as np

from mdaf.streams import draws

NO_ITEM = -1  # the pool contains no other item than the positive
_ROUNDS = 32  # how often a rejected item is drawn again; any left are then drawn from a list without the positive


def draw_negatives(stream: int, pool: np.ndarray, item: np.ndarray, positive: np.ndarray, count: int) -> np.ndarray:
    """``count`` negatives for each positive: items of ``pool`` other than the positive's, (positives, count).

    ``stream``    the seed of the random stream.
    ``pool``      contains an item once for each of its views, so that popular items are drawn more often.
    ``item``      the item of each positive, (positives,).
    ``positive``  the number of each positive, (positives,). Numbers are unique.

    Draws are independent. If the pool contains no other item than the positive's, the negatives are ``NO_ITEM``.
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
    for own in np.unique(item[row]):  # items that make up nearly the whole pool
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
