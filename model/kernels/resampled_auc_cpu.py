"""The AUC under resamples of users, on CPU cores: one pass over the rows for many resamples at a time."""

from __future__ import annotations

import numpy as np

from mdaf.model.kernels.numba_jit import exact, kernel
from mdaf.model.kernels.threads import for_each_chunk

#: Resamples of a chunk: enough that what is read for a row lies side by side, few enough for several threads.
CHUNK = 512


@exact
def _add(total, part):
    for n in range(total.size):
        total[n] += part[n]


@exact
def _count_click(won, clicks, below, equal, part):
    """A click is ranked above the rows below it, and counts half against those of its own score."""
    for n in range(won.size):
        drawn = np.int64(part[n])
        clicks[n] += drawn
        won[n] += drawn * (2 * below[n] + equal[n])


@exact
def _pass(clicked, user, ends, weights, won, clicks, below, equal):
    """One pass over all rows for the resamples of ``weights`` (user, resample)."""
    start = 0
    for end in ends:
        several = end - start > 1
        if several:
            for row in range(start, end):
                if not clicked[row]:
                    _add(equal, weights[user[row]])
        for row in range(start, end):
            if clicked[row]:
                _count_click(won, clicks, below, equal, weights[user[row]])
        if several:
            _add(below, equal)
            equal[:] = 0
        elif not clicked[start]:
            _add(below, weights[user[start]])
        start = end


@kernel
def _chunks(first, last, clicked, user, ends, weights, won, clicks, below):
    """The chunks [first, last) of the resamples."""
    for chunk in range(first, last):
        part = slice(chunk * CHUNK, min((chunk + 1) * CHUNK, weights.shape[1]))
        equal = np.zeros(part.stop - part.start, np.int64)
        _pass(clicked, user, ends, weights[:, part], won[part], clicks[part], below[part], equal)


def pairs(
    clicked: np.ndarray, user: np.ndarray, ends: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twice the pairs that are ranked correctly, the clicks and the other rows, (resample,) int64 each.

    ``clicked``  whether each row was clicked, bool (row,), in the ascending order of scores; ``user``: its user.
    ``ends``     the end of each group of rows with equal scores, (group,), ascending.
    ``weights``  how often each user is drawn in each resample, (user, resample), contiguous.
    """
    won, clicks, below = np.zeros((3, weights.shape[1]), dtype=np.int64)
    for_each_chunk(_chunks, -(-weights.shape[1] // CHUNK), clicked, user, ends, weights, won, clicks, below)
    return won, clicks, below
