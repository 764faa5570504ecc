"""Writes pages.jsonl: a made-up log of a shop. Each line is a page with four items, and the one that was clicked."""

from __future__ import annotations

import json
import random

USERS, ITEMS, SHELVES, PAGES = 150, 100, 8, 1200
DAY = 86400


def main() -> None:
    draw = random.Random(7)
    shelf_of = [draw.randrange(SHELVES) for _ in range(ITEMS)]
    favourite = [draw.randrange(SHELVES) for _ in range(USERS)]
    start = 1_767_225_600  # 1 January 2026, 00:00 UTC
    with open("pages.jsonl", "w") as file:
        for moment in sorted(draw.randrange(30 * DAY) for _ in range(PAGES)):
            user, items = draw.randrange(USERS), draw.sample(range(ITEMS), 4)
            liked = [item for item in items if shelf_of[item] == favourite[user]]
            clicked = draw.choice(liked) if liked and draw.random() < 0.9 else draw.choice([*items, None])
            page = {
                "visitor": f"u{user}",
                "at": start + moment,
                "shown": [{"sku": f"s{item}", "shelf": f"shelf {shelf_of[item]}"} for item in items],
                "clicked": None if clicked is None else f"s{clicked}",
            }
            file.write(json.dumps(page) + "\n")


if __name__ == "__main__":
    main()
