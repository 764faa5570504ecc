"""Raw logs of any size with the shape of the public ones, for measuring: nothing can be learned from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

_CHUNK = 2_000_000  # rows that are made together
_START, _DAYS = 1_511_539_200, 9  # 2017-11-25 at UTC+8
_AD_START = 1_494_000_000  # 2017-05-06 at UTC+8
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


def taobao_ad(folder: Path, rows: int, behaviours: int) -> None:
    """The four files of Ali Display Ad Click in random order: 23 impressions a user, an ad for every 31."""
    users, ads = max(20, rows // 23), max(100, rows // 31)
    _write(folder / "ad_feature.csv", "adgroup_id,cate_id,campaign_id,customer,brand,price", ads, _ads)
    _write(
        folder / "user_profile.csv",
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
        "new_user_class_level ",
        users,
        _profiles,
    )

    def impressions(generator: np.random.Generator, first: int, size: int) -> pl.DataFrame:
        clicked = (generator.random(size) < 0.051).astype(np.int64)
        return pl.DataFrame(
            {
                "user": generator.integers(users, size=size) + 1,
                "time": _AD_START + generator.integers(8 * 86_400, size=size),
                "item": _zipf(generator, size, ads) + 1,
                "position": generator.choice(["430548_1007", "430539_1007"], size=size),
                "skipped": 1 - clicked,
                "clicked": clicked,
            }
        )

    def done(generator: np.random.Generator, first: int, size: int) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "user": generator.integers(users, size=size) + 1,
                "time": _AD_START - 14 * 86_400 + generator.integers(22 * 86_400, size=size),
                "behaviour": generator.choice(list(_SHARES), size=size, p=list(_SHARES.values())),
                "category": _zipf(generator, size, 9000) + 1,
                "brand": _zipf(generator, size, 200_000) + 1,
            }
        )

    _write(folder / "raw_sample.csv", "user,time_stamp,adgroup_id,pid,nonclk,clk", rows, impressions)
    _write(folder / "behavior_log.csv", "user,time_stamp,btag,cate,brand", behaviours, done)


def _write(path: Path, header: str, rows: int, make: Callable[[np.random.Generator, int, int], pl.DataFrame]) -> None:
    with path.open("wb") as file:
        file.write(f"{header}\n".encode())
        for start in range(0, rows, _CHUNK):
            size = min(_CHUNK, rows - start)
            make(np.random.default_rng([len(header), start]), start, size).write_csv(file, include_header=False)


def _ads(generator: np.random.Generator, first: int, size: int) -> pl.DataFrame:
    ad = np.arange(first, first + size) + 1
    brand = pl.Series(_zipf(generator, size, 99_000) + 1).cast(pl.String)
    return pl.DataFrame(
        {
            "item": ad,
            "category": _zipf(generator, size, 6700) + 1,
            "campaign": ad // 2 + 1,
            "customer": ad // 3 + 1,
            "brand": brand.set(pl.Series(generator.random(size) < 0.3), "NULL"),
            "price": np.round(generator.lognormal(4.5, 1.5, size), 2),
        }
    )


def _profiles(generator: np.random.Generator, first: int, size: int) -> pl.DataFrame:
    levels = {"segment": 97, "group": 13, "gender": 2, "age": 7, "value": 3, "shopping": 3, "occupation": 2, "city": 4}
    columns = {name: generator.integers(count, size=size) for name, count in levels.items()}
    return pl.DataFrame({"user": np.arange(first, first + size) + 1, **columns})
