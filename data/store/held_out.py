"""Users who are held out: they are told by a hash of their id, the same ones in every log that has them."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

_SALT = b"held-out users"


def held_out(users: pl.Series | np.ndarray, share: float) -> np.ndarray:
    """Which of some rows belong to users who are held out, bool (rows,), from the users' raw ids.

    ``share``  the share of all possible ids that are held out.

    An id counts as its text, so a log that is read as numbers and one that is read as words agree.
    """
    rows = users if isinstance(users, pl.Series) else pl.Series(users)
    if share <= 0:
        return np.zeros(len(rows), dtype=bool)
    ids = rows.unique()
    chosen = pl.Series([_place(str(value)) < share for value in ids.to_list()], dtype=pl.Boolean)
    return rows.is_in(ids.filter(chosen).implode()).to_numpy()


def _place(user: str) -> float:
    """A number in [0, 1) that the id decides."""
    digest = hashlib.blake2b(user.encode(), digest_size=7, salt=b"", person=b"", key=_SALT).digest()
    return int.from_bytes(digest, "little") / (1 << 56)
