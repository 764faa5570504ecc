"""Small made-up logs in the layouts of public data sets, one for each documented config of ``conf/data``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROWS, USERS, ITEMS = 400, 23, 37
START = 1_650_000_000
GENRES = ["Action|Drama", "Comedy", "Drama", "Action|Comedy|Drama"]
_DRAWN = np.random.default_rng(7)
USER, ITEM = _DRAWN.integers(1, USERS, ROWS).tolist(), _DRAWN.integers(1, ITEMS, ROWS).tolist()
RATING = _DRAWN.integers(1, 6, ROWS).tolist()
TIME = [START + 1800 * n for n in range(ROWS)]
RATINGS = list(zip(USER, ITEM, RATING, TIME, strict=True))


def _lines(path: Path, rows: list, separator: str = ",", head: str = "") -> None:
    text = [separator.join("" if value is None else str(value) for value in row) for row in rows]
    path.write_text("\n".join([*([head] if head else []), *text]) + "\n", encoding="latin-1")


def _movielens_1m(folder: Path) -> None:
    _lines(folder / "ratings.dat", RATINGS, "::")
    films = [(n, f'"Misérables", Les ({1990 + n})', GENRES[n % 4]) for n in range(1, ITEMS - 1)]  # one is not described
    _lines(folder / "movies.dat", films, "::")
    _lines(folder / "users.dat", [(n, "FM"[n % 2], 25 + n % 3, n % 5, "12345") for n in range(1, USERS)], "::")


def _movielens_10m(folder: Path) -> None:
    _lines(folder / "ratings.dat", RATINGS, "::")
    _lines(folder / "movies.dat", [(n, f"Film {n}", GENRES[n % 4]) for n in range(1, ITEMS)], "::")


def _movielens_20m(folder: Path) -> None:
    _lines(folder / "ratings.csv", RATINGS, head="userId,movieId,rating,timestamp")
    films = [(n, f'"Film, The ({n})"', GENRES[n % 4]) for n in range(1, ITEMS)]
    _lines(folder / "movies.csv", films, head="movieId,title,genres")


def _recbole(folder: Path) -> None:
    _lines(folder / "x.inter", RATINGS, "\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float")
    films = [(n, f"Film {n}", "Drama Comedy" if n % 3 else "Drama") for n in range(1, ITEMS)]
    _lines(folder / "x.item", films, "\t", "item_id:token\tmovie_title:token_seq\tgenre:token_seq")
    _lines(folder / "x.user", [(n, 20 + n % 4) for n in range(1, USERS)], "\t", "user_id:token\tage:token")


def _amazon_2018(folder: Path) -> None:
    with gzip.open(folder / "Books_5.json.gz", "wt") as file:
        for user, item, rating, time in RATINGS:
            review = {"overall": float(rating), "verified": True, "reviewerID": f"A{user}", "asin": f"{item:010}",
                      "style": {"Format:": "Kindle"}, "reviewText": "so, \"so\"\n", "unixReviewTime": time}  # fmt: skip
            file.write(json.dumps(review) + "\n")


def _amazon_2023(folder: Path) -> None:
    with (folder / "Books.jsonl").open("w") as file:
        for user, item, rating, time in RATINGS:
            review = {"rating": float(rating), "title": "é", "images": [], "asin": f"X{item}",
                      "parent_asin": f"B{item}", "user_id": f"A{user}", "timestamp": time * 1000 + 7}  # fmt: skip
            file.write(json.dumps(review) + "\n")
    with (folder / "meta_Books.jsonl").open("w") as file:
        for item in range(1, ITEMS):
            store = None if item % 5 == 0 else f"store {item % 4}"
            meta = {"parent_asin": f"B{item}", "store": store, "categories": ["Books", f"c{item % 3}"]}
            file.write(json.dumps(meta) + "\n")


def _kuairand(folder: Path) -> None:
    head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,play_time_ms,duration_ms,is_rand,tab"
    rows = [(u, i, 20220408, 100 * (n % 24), t * 1000, int(r > 3), 0, 700 * r, 1000 + 37 * i, 0, n % 3)
            for n, (u, i, r, t) in enumerate(RATINGS)]  # fmt: skip
    _lines(folder / "log_standard_4_08_to_4_21_pure.csv", rows[:250], head=head)
    _lines(folder / "log_standard_4_22_to_5_08_pure.csv", rows[250:], head=head)


def _criteo(folder: Path) -> None:
    numbers = [[None if (n + column) % 7 == 0 else n * column % 90 for column in range(13)] for n in range(ROWS)]
    words = [[None if (n + column) % 11 == 0 else f"{n * column % 5:08x}" for column in range(26)] for n in range(ROWS)]
    labels = [[int(rating > 3)] for rating in RATING]
    _lines(folder / "train.txt", [[*a, *b, *c] for a, b, c in zip(labels, numbers, words, strict=True)], "\t")


def _avazu(folder: Path) -> None:
    sites = ["banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"]
    devices = [f"device_{name}" for name in ("id", "ip", "model", "type", "conn_type")]
    names = ["C1", *sites, *devices, *(f"C{n}" for n in range(14, 22))]
    rows = []
    for n, rating in enumerate(RATING):
        hour = f"1410{21 + n // 96}{n // 4 % 24:02}"
        rows.append((10**19 + n, int(rating > 3), hour, *(f"{n * column % 6:x}" for column in range(len(names)))))
    _lines(folder / "train.csv", rows, head=",".join(["id", "click", "hour", *names]))


# The config -> what writes the files, and what is typed beside data=NAME.
LAYOUTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "movielens_1m": (_movielens_1m, ["data.path=ratings.dat"]),
    "movielens_10m": (_movielens_10m, ["data.path=ratings.dat"]),
    "movielens_20m": (_movielens_20m, ["data.path=ratings.csv"]),
    "recbole": (
        _recbole,
        ["data.path=x.inter", "data.item_fields=[genre]", 'data.list_fields={genre: " "}', "data.user_fields=[age]"],
    ),
    "amazon_2018": (_amazon_2018, ["data.path=Books_5.json.gz"]),
    "amazon_2023": (
        _amazon_2023,
        [
            "data.path=Books.jsonl",
            "data.item_table.path=meta_Books.jsonl",
            "data.item_fields=[store,categories]",
            'data.list_fields={categories: "|"}',
        ],
    ),
    "kuairand": (_kuairand, ["data.path=log_standard_*.csv"]),
    "criteo": (_criteo, ["data.path=train.txt"]),
    "avazu": (_avazu, ["data.path=train.csv"]),
}
