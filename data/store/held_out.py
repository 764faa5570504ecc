"""Chooses users by a hash of their id, so that the same users are chosen in all logs."""

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
    return share_of(rows, _SALT) < share if share > 0 else np.zeros(len(rows), dtype=bool)


def share_of(users: pl.Series, salt: bytes) -> np.ndarray:
    """A number in [0, 1) for each row that depends on its user's id and on ``salt`` alone, (rows,)."""
    ids = users.unique()
    shares = pl.DataFrame({"id": ids, "share": [_place(str(value), salt) for value in ids.to_list()]})
    return users.alias("id").to_frame().join(shares, on="id", how="left", maintain_order="left")["share"].to_numpy()


def _place(user: str, salt: bytes) -> float:
    digest = hashlib.blake2b(user.encode(), digest_size=7, salt=b"", person=b"", key=salt).digest()
    return int.from_bytes(digest, "little") / (1 << 56)
