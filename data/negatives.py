"""Items that a user was not interested in, drawn by how popular they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_ITEM = -1  # every item of the pool is one that the user touched
_ROUNDS = 32  # of drawing again what was rejected, before the rest is drawn exactly


@dataclass(frozen=True)
class Touched:
    """Which users ever touched which items, as a sorted array of user * items + item."""

    keys: np.ndarray
    items: int

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray) -> Touched:
        """From a log's rows; ``user`` and ``item`` are indices or codes, (rows,)."""
        items = int(item.max(initial=0)) + 1
        return cls(np.unique(user.astype(np.int64) * items + item), items)

    def __call__(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether each user touched the item beside it, bool of the same shape; ``item`` must occur in the log."""
        if not len(self.keys):
            return np.zeros(np.shape(item), dtype=bool)
        keys = user.astype(np.int64) * self.items + item
        position = np.searchsorted(self.keys, keys)
        return self.keys[np.minimum(position, len(self.keys) - 1)] == keys


def draw_negatives(
    generator: np.random.Generator, pool: np.ndarray, user: np.ndarray, count: int, touched: Touched
) -> np.ndarray:
    """``count`` items for each user, each drawn from ``pool`` among those the user never touched, (users, count).

    ``pool`` holds an item once for each of its views, so drawing an element draws by popularity. Draws are
    independent. Where a user touched the whole pool the items are ``NO_ITEM``.
    """
    drawn = pool[generator.integers(len(pool), size=(len(user), count))]
    owner = np.broadcast_to(user[:, None], drawn.shape)
    row, column = np.nonzero(touched(owner, drawn))
    for _ in range(_ROUNDS):
        if not len(row):
            return drawn
        again = pool[generator.integers(len(pool), size=len(row))]
        drawn[row, column] = again
        rejected = touched(user[row], again)
        row, column = row[rejected], column[rejected]
    for owner_left in np.unique(user[row]):  # the few users who touched nearly all of the pool
        mine = user[row] == owner_left
        left = pool[~touched(np.full(len(pool), owner_left), pool)]
        if len(left):
            drawn[row[mine], column[mine]] = left[generator.integers(len(left), size=int(mine.sum()))]
        else:
            drawn[row[mine], column[mine]] = NO_ITEM
    return drawn
