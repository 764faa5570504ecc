"""Chooses the users who are held out for the test by a hash of their id, so that all logs hold out the same users."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

_SALT = b"held-out users"


def held_out(users: pl.Series | np.ndarray, share: float) -> np.ndarray:
    """Which rows belong to held-out users, bool (rows,).

    ``users``  the raw id of each row's user.
    ``share``  the share of all possible ids that are held out.

    The hash is that of the id's text, so numbers and words with the same text agree.
    """
    rows = users if isinstance(users, pl.Series) else pl.Series(users)
    if share <= 0:
        return np.zeros(len(rows), dtype=bool)
    ids = rows.unique()
    chosen = pl.Series([_place(str(value)) < share for value in ids.to_list()], dtype=pl.Boolean)
    return rows.is_in(ids.filter(chosen).implode()).to_numpy()


def _place(user: str) -> float:
    """A number in [0, 1) that depends only on the id."""
    digest = hashlib.blake2b(user.encode(), digest_size=7, salt=b"", person=b"", key=_SALT).digest()
    return int.from_bytes(digest, "little") / (1 << 56)
