"""Writes visits.csv: a made-up log of a shop, in columns of its own names. Replace it with your own log."""

from __future__ import annotations

import csv
import random

USERS, ITEMS, SHELVES, ROWS = 200, 120, 8, 4000
DAY = 86400


def main() -> None:
    draw = random.Random(7)
    shelf_of = [draw.randrange(SHELVES) for _ in range(ITEMS)]
    favourite = [draw.randrange(SHELVES) for _ in range(USERS)]
    start = 1_767_225_600  # 1 January 2026, 00:00 UTC
    with open("visits.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "sku", "at", "shelf", "brand", "clicked"])
        for moment in sorted(draw.randrange(30 * DAY) for _ in range(ROWS)):
            user, item = draw.randrange(USERS), draw.randrange(ITEMS)
            chance = 0.6 if shelf_of[item] == favourite[user] else 0.2
            clicked = int(draw.random() < chance)
            table.writerow(
                [f"u{user}", f"s{item}", start + moment, f"shelf {shelf_of[item]}", f"b{item % 10}", clicked]
            )


if __name__ == "__main__":
    main()
