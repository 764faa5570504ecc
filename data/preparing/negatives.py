"""Draws negatives by popularity: items that a user never touched.

Each draw is a function of the stream, the positive's number, the column and the attempt, so it does not depend on
which positives share a call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdaf.streams import draws

NO_ITEM = -1  # the user touched every item of the pool
_ROUNDS = 32  # of redrawing rejected items; the rest is then drawn from an exact list


_SLOTS = 4  # of the sieve for each key, at least
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Touched:
    """Which users ever touched which items, as a sorted array of user * items + item.

    ``sieve``  a bool for each hash of a key; most pairs were not touched, and the sieve says so without a search.
    """

    keys: np.ndarray
    items: int
    sieve: np.ndarray

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray, items: int | None = None) -> Touched:
        """From a log's rows; ``user`` and ``item`` are indices or codes, (rows,).

        ``items``  a number above every item that will be looked up; default: from the rows.
        """
        items = int(item.max(initial=0)) + 1 if items is None else items
        keys = np.sort(user.astype(np.int64) * items + item)  # numpy.unique hashes, which is much slower
        keys = keys[np.diff(keys, prepend=-1) > 0]
        sieve = np.zeros(1 << (_SLOTS * len(keys)).bit_length(), dtype=bool)
        sieve[_hashes(keys, len(sieve))] = True
        return cls(keys, items, sieve)

    def __call__(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether each user touched the item at the same index, bool of that shape; every item is below ``items``."""
        if not len(self.keys):
            return np.zeros(np.shape(item), dtype=bool)
        keys = user.astype(np.int64) * self.items + item
        touched = self.sieve[_hashes(keys, len(self.sieve))]
        likely = keys[touched]
        position = np.searchsorted(self.keys, likely)
        touched[touched] = self.keys[np.minimum(position, len(self.keys) - 1)] == likely
        return touched


def _hashes(keys: np.ndarray, slots: int) -> np.ndarray:
    """A slot for each key, below a power of two (Knuth's multiplicative hashing)."""
    return (keys.astype(np.uint64) * _GOLDEN) >> np.uint64(65 - slots.bit_length())


def draw_negatives(
    stream: int, pool: np.ndarray, user: np.ndarray, positive: np.ndarray, count: int, touched: Touched
) -> np.ndarray:
    """``count`` items for each user, each drawn from ``pool`` among those the user never touched, (positives, count).

    ``stream``    the seed of the stream to draw from.
    ``pool``      holds an item once for each of its views, so drawing an element draws by popularity.
    ``positive``  the number of each positive, (positives,), unique.

    Draws are independent. If a user touched the whole pool, the items are ``NO_ITEM``.
    """
    number = positive.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(count, dtype=np.uint64)
    drawn = pool[_indices(stream, number, 0, len(pool))]
    owner = np.broadcast_to(user[:, None], drawn.shape)
    row, column = np.nonzero(touched(owner, drawn))
    for attempt in range(1, _ROUNDS + 1):
        if not len(row):
            return drawn
        again = pool[_indices(stream, number[row, column], attempt, len(pool))]
        drawn[row, column] = again
        rejected = touched(user[row], again)
        row, column = row[rejected], column[rejected]
    for owner_left in np.unique(user[row]):  # the few users who touched nearly all of the pool
        mine = user[row] == owner_left
        left = pool[~touched(np.full(len(pool), owner_left), pool)]
        if len(left):
            chosen = _indices(stream, number[row[mine], column[mine]], _ROUNDS + 1, len(left))
            drawn[row[mine], column[mine]] = left[chosen]
        else:
            drawn[row[mine], column[mine]] = NO_ITEM
    return drawn


def _indices(stream: int, number: np.ndarray, attempt: int, size: int) -> np.ndarray:
    """A random index in [0, ``size``) for each number."""
    return (draws(stream ^ (attempt << 48), number) % np.uint64(size)).astype(np.int64)
