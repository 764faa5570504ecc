"""Draws negatives: by popularity on the sample's day, or from what its user touched before it.

The positive itself is excluded and nothing else. Other items of the same user are not excluded. If they were, an item
of the history could only be a positive, and a model could score well by recognizing that alone.

The pool of a day is the caller's: ``mdaf.data.preparing.next_click`` has one for each local day and split. If negatives
were drawn by popularity in training, all items that training has never seen would be positives, which tells them too.

Each draw is a function of the stream, the positive's number, the column and the attempt. So it does not depend on which
positives are in the same call.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mdaf.data.preparing.source import refuse_others
from mdaf.errors import DataError
from mdaf.streams import draws

NO_ITEM = -1  # the pool contains no other item than the positive
SOURCES = ("day", "history", "mixed")
_HISTORY_ROUNDS = 8  # the same for histories; the other items of a short one are then listed
_PAIRS = 1 << 21  # events of histories that are listed at once
_ROUNDS = 32  # how often a rejected item is drawn again; any left are then drawn from a list without the positive


def check_negatives(source: str, negatives: int, drawn: bool) -> None:
    """Raises DataError for a setting ``data.negatives_from`` that there is not, or that changes nothing.

    ``drawn``  whether negatives are drawn at all.
    """
    refuse_others("negatives_from", source, SOURCES)
    if source != "day" and not drawn:
        raise DataError(
            f"data.negatives_from={source}: negatives are drawn only for data.task=next_click of a log without labels; "
            "leave it out"
        )
    if source == "mixed" and negatives < 2:
        raise DataError(f"data.negatives_from=mixed needs two negatives or more; data.negatives is {negatives}")


def shares_of(source: str, negatives: int) -> tuple[int, int]:
    """How many of the negatives are drawn from the day and how many from the history, by ``source`` of ``SOURCES``."""
    of_history = {"day": 0, "history": negatives, "mixed": negatives // 2}[source]
    return negatives - of_history, of_history


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
    return (_raw(stream, number, attempt) % np.uint64(size)).astype(np.int64)


def draw_from_histories(
    stream: int,
    events: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    item: np.ndarray,
    positive: np.ndarray,
    count: int,
) -> np.ndarray:
    """Up to ``count`` different items of each positive's history other than the positive's, (positives, count) int32.

    ``events``           the item of each event, sorted by user and time.
    ``starts``, ``ends``  where the history of each positive begins and ends among the events, (positives,) each.
    ``item``, ``positive``, ``stream``  as for ``draw_negatives``.

    An item is drawn the more often the more events of the history it has. Where the history has fewer other items, all
    are drawn, and the rest is ``NO_ITEM``.
    """
    drawn = np.full((len(item), count), NO_ITEM, dtype=np.int32)
    size = ends - starts
    open_rows = np.flatnonzero(size > 0)
    for column in range(count):
        left = open_rows
        for attempt in range(_HISTORY_ROUNDS):
            number = positive[left].astype(np.uint64) * np.uint64(count) + np.uint64(column)
            chosen = events[
                starts[left] + (_raw(stream, number, attempt) % size[left].astype(np.uint64)).astype(np.int64)
            ]
            fits = (chosen != item[left]) & (drawn[left, :column] != chosen[:, None]).all(axis=1)
            drawn[left[fits], column] = chosen[fits]
            left = left[~fits]
            if not len(left):
                break
        open_rows = np.setdiff1d(open_rows, left, assume_unique=True)
        _fill(stream, drawn, left, column, events, starts, ends, item, positive)
    return drawn


def _fill(
    stream: int,
    drawn: np.ndarray,
    rows: np.ndarray,
    column: int,
    events: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    item: np.ndarray,
    positive: np.ndarray,
) -> None:
    """Draws all columns from ``column`` on of ``rows``, whose histories hold hardly another item, in random order."""
    before = np.cumsum(ends[rows] - starts[rows])
    for first, last in _batches(before):
        part = rows[first:last]
        size = ends[part] - starts[part]
        row = np.repeat(np.arange(len(part)), size)
        within = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
        held = events[np.repeat(starts[part], size) + within]
        row, held = np.unique(np.stack([row, held.astype(np.int64)]), axis=1)
        known = np.column_stack([item[part], drawn[part, :column]])
        new = (known[row] != held[:, None]).all(axis=1)
        row, held = row[new], held[new]
        key = _raw(
            stream ^ (1 << 40), positive[part][row].astype(np.uint64) * np.uint64(1 << 32) + held.astype(np.uint64), 0
        )
        order = np.lexsort((key, row))
        row, held = row[order], held[order]
        place = column + np.arange(len(row)) - np.searchsorted(row, row)
        fits = place < drawn.shape[1]
        drawn[part[row[fits]], place[fits]] = held[fits]


def _batches(before: np.ndarray) -> list[tuple[int, int]]:
    """Cuts rows into batches of about ``_PAIRS`` events. ``before``: the sum of the events up to and with each row."""
    cuts = np.flatnonzero(np.diff(before // _PAIRS)) + 1
    bounds = [0, *cuts.tolist(), len(before)]
    return [(first, last) for first, last in pairwise(bounds) if first < last]


def _raw(stream: int, number: np.ndarray, attempt: int) -> np.ndarray:
    return draws(stream ^ (attempt << 48), number)
