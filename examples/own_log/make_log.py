"""Writes visits.csv, a made-up log of a shop: ``python make_log.py [ROWS]``. Replace it with your own log."""

from __future__ import annotations

import csv
import random
import sys

USERS, ITEMS, SHELVES = 200, 120, 8
DAY = 86400


def main(rows: int) -> None:
    draw = random.Random(7)
    shelf_of = [draw.randrange(SHELVES) for _ in range(ITEMS)]
    favourite = [draw.randrange(SHELVES) for _ in range(USERS)]
    start = 1_767_225_600  # 1 January 2026, 00:00 UTC
    with open("visits.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "sku", "at", "shelf", "brand", "clicked"])
        for moment in sorted(draw.randrange(30 * DAY) for _ in range(rows)):
            user, item = draw.randrange(USERS), draw.randrange(ITEMS)
            chance = 0.7 if shelf_of[item] == favourite[user] else 0.15
            clicked = int(draw.random() < chance)
            table.writerow(
                [f"u{user}", f"s{item}", start + moment, f"shelf {shelf_of[item]}", f"b{item % 10}", clicked]
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
