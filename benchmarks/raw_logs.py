"""Raw logs of any size with the shape of the public ones, for measuring: nothing can be learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

_CHUNK = 2_000_000  # rows that are made together
_START, _DAYS = 1_511_539_200, 9  # 2017-11-25 at UTC+8
_SHARES = {"pv": 0.898, "cart": 0.053, "fav": 0.028, "buy": 0.021}


def _zipf(generator: np.random.Generator, size: int, count: int) -> np.ndarray:
    """Ranks in [0, count), small ones far more often, (size,) int64."""
    return np.minimum(np.exp(generator.random(size) * np.log(count + 1.0)).astype(np.int64) - 1, count - 1)


def user_behavior(path: Path, rows: int) -> None:
    """A file like UserBehavior.csv, in random order: 100 rows a user, an item for every 24 rows, 9,400 categories."""
    users, items = max(10, rows // 100), max(100, rows // 24)
    with path.open("wb") as file:
        for start in range(0, rows, _CHUNK):
            generator = np.random.default_rng([1, start])
            size = min(_CHUNK, rows - start)
            # Half of the views go to popular items, half to any.
            item = np.where(
                generator.random(size) < 0.5, _zipf(generator, size, items), generator.integers(items, size=size)
            )
            frame = pl.DataFrame(
                {
                    "user": generator.integers(users, size=size) + 1,
                    "item": item + 1,
                    "category": item * 7919 % 9400 + 1,
                    "behaviour": generator.choice(list(_SHARES), size=size, p=list(_SHARES.values())),
                    "time": _START + generator.integers(_DAYS * 86_400, size=size),
                }
            )
            frame.write_csv(file, include_header=False)
